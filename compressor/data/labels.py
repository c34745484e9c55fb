"""Labels: in one form, as many as samples, and within the classes that the model tells apart."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.formatting import there_are
from compressor.data.batch import Dataset
from compressor.data.spec import sizes_of
from compressor.errors import UsageError

IGNORED = -100
"""Label of positions that have none, as torch's cross-entropy takes it; of labels with more than one axis."""
READ_AT_ONCE = 256
"""Samples that are held at a time for the sake of their labels."""


@runtime_checkable
class Labels(Protocol):
    """A dataset that knows its labels without reading samples."""

    @property
    def labels(self) -> Array | None:
        """All labels, stacked in the order of the samples."""
        ...


def tidy_labels(labels: Array, count: int, place: str) -> Array:
    """Labels after a look at all of them; a second axis of size 1 is dropped from whole numbers.

    Raises:
        UsageError: there are not as many as samples, or they are no numbers, or not finite.
    """
    if labels.ndim == 0 or len(labels) != count:
        held = f"{len(labels)} labels" if labels.ndim else "one label"
        raise UsageError(f"{place}: there {there_are(count, 'sample')} and {held}; give one label for each sample")
    if labels.dtype.kind not in "biuf":
        raise UsageError(f"{place}: labels are {labels.dtype}; give class numbers (int64) or values (float32)")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise UsageError(f"{place}: labels hold NaN or infinity; remove or repair such samples")
        return labels
    # Such a label would become negative in int64.
    if labels.dtype == np.uint64 and labels.size and labels.max() > np.iinfo(np.int64).max:
        raise UsageError(f"{place}: a label is larger than any class number; give int64")
    narrow = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    return batch_labels(narrow) if narrow.ndim == 1 else narrow


def batch_labels(labels: Array) -> Array:
    """Labels as batches hold them: whole numbers as int64, others in their own type and the machine's byte order.

    Maps of labels are stored as narrow as they come, and widened batch by batch.
    """
    floating = labels.dtype.kind == "f"
    # Files may come from machines of another byte order, which torch refuses.
    return np.ascontiguousarray(labels, labels.dtype.newbyteorder("=") if floating else np.int64)


def all_labels(dataset: Dataset) -> Array | None:
    """The labels of every sample, in order; None where there are none.

    Datasets that are not of this room are read once for it.
    """
    if not dataset.labelled:
        return None
    # Reading samples for their labels alone would decode every image of a folder.
    if isinstance(dataset, Labels):
        return dataset.labels
    parts = []
    for start in range(0, len(dataset), READ_AT_ONCE):
        part = dataset.take(np.arange(start, min(start + READ_AT_ONCE, len(dataset)), dtype=np.int64)).labels
        if part is None:
            raise UsageError(f"the data says that it has labels, but samples from {start} on lack them; give all")
        parts.append(part)
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def classes(model: ir.Model) -> int | None:
    """How many classes the model tells apart: the width of its first floating output, where that is fixed.

    Of outputs [n, classes] the second axis counts; of more axes it cannot be told without labels.
    """
    shape = _scores(model)
    return shape[1] if shape is not None and len(shape) == 2 else None


def check_labels(dataset: Dataset, model: ir.Model) -> int | None:
    """Are the labels classes that the model tells apart?

    Args:
        dataset: with labels int64[n], or int64[n, ...] for outputs [n, classes, ...] or [n, ..., classes].
        model: whose first floating output holds the scores of classes.

    Returns:
        The number of classes, or None where the file leaves it open.

    Raises:
        UsageError: there are no labels, they are no classes, or one is out of range.
    """
    labels = all_labels(dataset)
    if labels is None:
        raise UsageError("the data has no labels; add an array y, or choose a loss that needs none")
    if labels.dtype.kind not in "biu":
        raise UsageError(f"labels are {labels.dtype}, and classes are whole numbers; give int64")
    shape = _scores(model)
    if shape is not None and labels.ndim != len(shape) - 1:
        raise UsageError(
            f"labels are {sizes_of(labels.shape)}, and the model gives {sizes_of(shape)} scores; "
            "give one class for each set of scores"
        )
    width = None if shape is None else _width(shape, labels.shape)
    # Only maps of labels have positions to leave out; a class of -100 for a whole sample is a mistake.
    counted = labels[labels != IGNORED] if labels.ndim > 1 else labels
    if counted.size:
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or (width is not None and high >= width):
            upper = "up" if width is None else f"to {width - 1}"
            raise UsageError(f"labels run from {low} to {high}, and the model's classes from 0 {upper}; renumber them")
    return width


def _scores(model: ir.Model) -> tuple[int | None, ...] | None:
    """Shape of the first floating output, None for open sizes; None where it has none or too few axes."""
    for value in model.graph.outputs:
        if value.shape is not None and (value.dtype is None or value.dtype.is_floating_point()):
            shape = tuple(d if isinstance(d, int) else None for d in value.shape)
            return shape if len(shape) > 1 else None
    return None


def _width(shape: tuple[int | None, ...], labels: tuple[int, ...]) -> int | None:
    """Classes on axis 1 or on the last one, whichever leaves the shape of the labels."""
    fits = [
        axis
        for axis in (1, len(shape) - 1)
        if all(
            size is None or size == label
            for size, label in zip((*shape[1:axis], *shape[axis + 1 :]), labels[1:], strict=True)
        )
    ]
    if not fits:
        told = sizes_of(labels)
        raise UsageError(f"labels are {told}, and the model gives {sizes_of(shape)} scores; make the sizes agree")
    widths = {shape[axis] for axis in fits}
    # Where both axes fit and differ, the file does not tell which one holds classes.
    return widths.pop() if len(widths) == 1 else None
