"""Accuracy back without training, from calibration data alone."""

from compressor.recover.options import Options
from compressor.recover.recovery import RECOVERIES, Recovery, recover
from compressor.recover.task import LayerRepair

__all__ = ["RECOVERIES", "LayerRepair", "Options", "Recovery", "recover"]
