"""Accuracy of a classifier, measured in ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.config import DataSettings
from compressor.data import Array, Batch, Dataset, batch_limit
from compressor.data.labels import IGNORED
from compressor.data.output_forms import class_axis
from compressor.errors import UsageError


@dataclass(frozen=True)
class Accuracy:
    """How often the largest logit is the label.

    Attributes:
        correct: samples (or positions, where logits are [n, classes, ...]) that are right.
        count: all of them.
    """

    correct: int
    count: int

    @property
    def share(self) -> float:
        """Share of the samples that are right, from 0 to 1."""
        return self.correct / self.count


def accuracy(model: ir.Model, data: Dataset, settings: DataSettings) -> Accuracy:
    """Top-1 accuracy of the first output on all samples of ``data``, over all positions that have a label.

    Scores are [n, classes], [n, classes, ...] as of pixels, or [n, ..., classes] as of tokens.

    Raises:
        UsageError: the data has no labels, or they do not fit the first output.
        ModelError: the model does not run on the data.
        ProviderUnavailable: the provider asked for is not there.
    """
    from compressor.runtime import sessions  # noqa: PLC0415 - slow to import, and many runs need no accuracy

    if not data.labelled:
        raise UsageError("accuracy needs labels, and the data has none; add an array y, or leave the gate out")
    fixed = batch_limit(model)
    size = fixed or settings.batch_size
    correct = count = 0
    with sessions.opened(model, settings.provider) as session:
        for start in range(0, len(data) // size * size if fixed else len(data), size):
            batch = data.take(np.arange(start, min(start + size, len(data))))
            found, counted = right(sessions.run_session(session, batch.inputs)[0], batch)
            correct, count = correct + int(found[counted].sum()), count + int(counted.sum())
    if not count:
        raise UsageError(f"the model takes batches of {fixed}, the data has {len(data)} samples; give more")
    return Accuracy(correct, count)


def right(logits: Array, batch: Batch) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which positions of a batch are classified as labelled, and which have a label; bool, of the shape of the labels.

    Args:
        logits: scores of classes, or classes.
        batch: with labels; -100 is none.

    Raises:
        UsageError: there is not one label for each set of scores.
    """
    labels = np.asarray(batch.labels)
    axis = class_axis(logits, labels)
    found = logits if logits.ndim < 2 else logits.argmax(axis=1 if axis is None else axis)
    if found.shape != labels.shape:
        raise UsageError(
            f"labels have shape {list(labels.shape)} a batch, the first output {list(logits.shape)}; labels are the "
            "numbers of classes, one for each row of logits"
        )
    return np.asarray(found == labels), np.asarray(labels != IGNORED)
