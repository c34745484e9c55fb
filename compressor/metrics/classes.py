"""Accuracy of classifiers: how often the label is among the classes with the largest scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compressor.core.arrays import Array
from compressor.core.default_metric import DEFAULT_METRIC
from compressor.data.batch import Batch
from compressor.data.labels import IGNORED
from compressor.data.output_forms import class_axis
from compressor.errors import UsageError
from compressor.metrics.metric import Metric, Outputs


class TopK(Metric):
    """Share of labels that are among the ``k`` classes with the largest scores of the first output.

    Scores are [n, classes], [n, classes, ...] as of pixels, or [n, ..., classes] as of tokens; labels have that shape
    without the axis of classes, and -100 is none. Source: Russakovsky et al., *ImageNet Large Scale Visual Recognition
    Challenge*, 2015, section 4.1, where 1 minus this is the error.
    """

    counted = True
    k = 1

    def __init__(self) -> None:
        self._hits = self._count = 0

    def add(self, outputs: Outputs, batch: Batch, original: Outputs | None) -> None:  # noqa: ARG002
        """Counts labels, and those that are met."""
        values = next(iter(outputs.values()))
        if batch.labels is None:
            raise UsageError(f"--eval {self.name} needs labels, and the data has none; add an array y")
        # argmax is faster than ranks, and takes outputs that are classes already.
        if self.k == 1:
            found, counted = right(values, batch)
        else:
            found, counted = among(values, batch, self.k)
        self._hits += int(found[counted].sum())
        self._count += int(counted.sum())

    def value(self) -> float:
        """The share of labels that are met, between 0 and 1."""
        if not self._count:
            raise UsageError(f"--eval {self.name}: no sample has a label that counts")
        return self._hits / self._count


class Top1(TopK):
    """Is the largest score the label's? The accuracy that everybody means."""

    name = DEFAULT_METRIC


class Top5(TopK):
    """Is the label's among the five largest scores?"""

    name = "top-5"
    k = 5


def right(logits: Array, batch: Batch) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which positions of a batch are classified as labelled, and which have a label; bool, of the shape of the labels.

    Args:
        logits: scores of classes, or classes.
        batch: with labels; -100 is none.

    Raises:
        UsageError: there is not one label for each set of scores, or one is no number of a class.
    """
    labels = np.asarray(batch.labels)
    axis = class_axis(logits, labels)
    found = logits if logits.ndim < 2 else logits.argmax(axis=1 if axis is None else axis)
    if found.shape != labels.shape:
        raise _misfit(logits, labels)
    counted = np.asarray(labels != IGNORED)
    if logits.ndim > 1:
        demand_classes(labels[counted], logits.shape[1 if axis is None else axis])
    return np.asarray(found == labels), counted


def among(scores: Array, batch: Batch, k: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Like :func:`right`, for labels among the ``k`` largest scores; of equal scores the lower class comes first.

    Raises:
        UsageError: there is not one label for each set of scores.
    """
    labels = np.asarray(batch.labels)
    axis = class_axis(scores, labels)
    if axis is None:
        raise _misfit(scores, labels)
    rows, counted = np.moveaxis(scores.astype(np.float64), axis, -1), labels != IGNORED
    # Positions without a label get any class, and are not counted.
    safe = np.where(counted, labels, 0).astype(np.int64)
    demand_classes(safe, rows.shape[-1])
    own = np.take_along_axis(rows, safe[..., None], -1)
    # Ties are broken as argmax breaks them, so that top-1 by rank is top-1 by argmax.
    earlier = (rows == own) & (np.arange(rows.shape[-1]) < safe[..., None])
    rank = ((rows > own) | earlier).sum(-1)
    return np.asarray(rank < k), np.asarray(counted)


def demand_classes(labels: Array, count: int, remedy: str = "renumber them") -> None:
    """Raises UsageError where a label is no number of one of ``count`` classes."""
    if labels.size and not 0 <= labels.min() <= labels.max() < count:
        raise UsageError(
            f"labels run from {labels.min()} to {labels.max()}, and the model's classes from 0 to {count - 1}; {remedy}"
        )


def _misfit(scores: Array, labels: Array) -> UsageError:
    return UsageError(
        f"labels have shape {list(labels.shape)} a batch, the first output {list(scores.shape)}; labels are the "
        "numbers of classes, one for each row of logits"
    )
