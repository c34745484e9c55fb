"""Accuracy back without training, from calibration data alone."""

from compressor.reconstruct.options import Options
from compressor.reconstruct.run import RECOVERIES, Recovery, recover
from compressor.reconstruct.task import LayerRepair

__all__ = ["RECOVERIES", "LayerRepair", "Options", "Recovery", "recover"]
