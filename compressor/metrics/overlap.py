"""Mean intersection over union of segmentation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compressor.core.arrays import Array, Floats
from compressor.data.batch import Batch
from compressor.data.labels import IGNORED
from compressor.data.output_forms import class_axis
from compressor.errors import UsageError
from compressor.metrics.classes import demand_classes
from compressor.metrics.metric import Metric, Outputs, first_floating

VOID = 255
"""Label of pixels that data sets of segmentation leave out, where there are no more than that many classes."""


class MeanIou(Metric):
    """Intersection over union of each class, over the pixels of all samples; the mean over classes that occur.

    The first floating output holds scores [n, classes, h, w] (or classes on the last axis) of labels int[n, h, w]; an
    output of one channel tells class 1 from 0. Pixels labelled -100, or 255 where that is no class, do not count.
    Source: Everingham et al., *The PASCAL Visual Object Classes Challenge: A Retrospective*, 2015, section 2.1.3; Long,
    Shelhamer and Darrell, *Fully Convolutional Networks for Semantic Segmentation*, 2015, section 5, mean IU.
    """

    name = "miou"

    def __init__(self) -> None:
        self._table: npt.NDArray[np.int64] | None = None

    def add(self, outputs: Outputs, batch: Batch, original: Outputs | None) -> None:  # noqa: ARG002
        """Counts pixels by label and by class that was found."""
        name, scores = first_floating(outputs, self.name)
        labels = batch.labels
        if labels is None or labels.dtype.kind not in "biu":
            raise UsageError(f"--eval {self.name} needs labels: maps of the numbers of classes; add an integer array y")
        found, classes = _classified(name, scores, labels)
        # 255 is a class where there are more than that many.
        counted = (labels != IGNORED) & ~((labels == VOID) & (classes <= VOID))
        wanted = labels[counted].astype(np.int64)
        demand_classes(wanted, classes, "renumber them, with -100 or 255 where there is none")
        # One number for each pair of label and class, so that one pass counts the table.
        pairs = np.bincount(wanted * classes + found[counted], minlength=classes * classes)
        table = pairs.reshape(classes, classes).astype(np.int64)
        self._table = table if self._table is None else self._table + table

    def value(self) -> float:
        """The mean intersection over union of the classes that occur, between 0 and 1."""
        if self._table is None or not self._table.any():
            raise UsageError(f"--eval {self.name}: no pixel has a label that counts")
        return float(ious(self._table).mean())


def ious(table: npt.NDArray[np.int64]) -> Floats:
    """Intersection over union of every class that occurs as label or was found.

    Args:
        table: int64[classes, classes], pixels by label and by class that was found.
    """
    hit = np.diag(table)
    union = table.sum(0) + table.sum(1) - hit
    # A class that neither occurs nor is found says nothing.
    occurs = union > 0
    return np.asarray(hit[occurs] / union[occurs], np.float64)


def _classified(name: str, scores: Array, labels: Array) -> tuple[npt.NDArray[np.int64], int]:
    """The class of every pixel, and how many classes there are."""
    axis = class_axis(scores, labels)
    if axis is not None:
        return scores.argmax(axis).astype(np.int64), scores.shape[axis]
    for single in (1, scores.ndim - 1):
        if scores.ndim == labels.ndim + 1 and scores.shape[single] == 1:
            plane = scores.squeeze(single).astype(np.float64)
            if plane.shape == labels.shape:
                # Values beyond 0 and 1 are logits, whose threshold is 0; others are probabilities.
                logits = plane.size and (plane.min() < 0 or plane.max() > 1)
                return (plane > (0.0 if logits else 0.5)).astype(np.int64), 2
    raise UsageError(
        f"labels have shape {list(labels.shape)} a batch, output {name!r} {list(scores.shape)}; give one class for "
        "each pixel of the output"
    )
