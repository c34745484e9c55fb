"""Data that a model is calibrated, trained and judged on."""

from compressor.core.arrays import Array
from compressor.data.augment import Augment, augmentation
from compressor.data.batch import Batch, Dataset, Indices
from compressor.data.labels import all_labels, check_labels, classes
from compressor.data.order import batches, shuffled, split_dataset, subset
from compressor.data.source import open_data, open_parts
from compressor.data.spec import InputSpec, note_sizes, specs

__all__ = [
    "Array",
    "Augment",
    "Batch",
    "Dataset",
    "Indices",
    "InputSpec",
    "all_labels",
    "augmentation",
    "batches",
    "check_labels",
    "classes",
    "note_sizes",
    "open_data",
    "open_parts",
    "shuffled",
    "specs",
    "split_dataset",
    "subset",
]
