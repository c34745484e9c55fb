"""Data that a model is calibrated, trained and judged on."""

from compressor.data.batch import Array, Batch, Dataset, Indices

__all__ = ["Array", "Batch", "Dataset", "Indices"]
