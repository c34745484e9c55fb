"""Accuracy of a classifier, measured in ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.config import DataSettings
from compressor.data import Array, Batch, Dataset, batch_limit
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
        """In 0..1."""
        return self.correct / self.count


def accuracy(model: ir.Model, data: Dataset, settings: DataSettings) -> Accuracy:
    """Top-1 accuracy of the first output, logits [n, classes] or [n, classes, ...], on all samples of ``data``.

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
            found = right(sessions.run(session, batch.inputs)[0], batch)
            correct, count = correct + int(found.sum()), count + found.size
    if not count:
        raise UsageError(f"the model takes batches of {fixed}, the data has {len(data)} samples; give more")
    return Accuracy(correct, count)


def right(logits: Array, batch: Batch) -> npt.NDArray[np.bool_]:
    """Which samples of a batch are classified as labelled: bool, of the shape of the labels.

    Args:
        logits: scores of classes on axis 1, or classes.
        batch: with labels.

    Raises:
        UsageError: there is not one label for each row of logits.
    """
    labels = np.asarray(batch.labels)
    found = logits.argmax(axis=1) if logits.ndim > 1 else logits
    if found.shape != labels.shape:
        raise UsageError(
            f"labels have shape {list(labels.shape)} a batch, the first output {list(logits.shape)}; labels are the "
            "numbers of classes, one for each row of logits"
        )
    return np.asarray(found == labels)
