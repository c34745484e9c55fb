"""Accuracy back without training, from calibration data alone."""

from compressor.reconstruct.options import ReconstructOptions
from compressor.reconstruct.run import RecoveryResult, recover
from compressor.reconstruct.task import LayerRepair

__all__ = ["LayerRepair", "ReconstructOptions", "RecoveryResult", "recover"]
