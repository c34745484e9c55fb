"""Metrics of outputs that are numbers: embeddings and regressions."""

from __future__ import annotations

from math import sqrt

import numpy as np

from compressor.data.batch import Batch
from compressor.errors import ModelError, UsageError
from compressor.metrics.metric import Metric, Outputs, first_floating, wanted_numbers


class Cosine(Metric):
    """Mean cosine of the angle between embeddings and those they should be; 1 where they point the same way.

    Embeddings are the rows along the last axis of the first floating output. They are held against labels that are
    numbers of the same shape, else against the original's. Source: Reimers and Gurevych, *Sentence-BERT*, 2019,
    section 3, where it compares sentences. The cosine with a row of zeros counts as 0.
    """

    name = "cosine"
    needs_labels = False
    against_original = True

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, outputs: Outputs, batch: Batch, original: Outputs | None) -> None:
        """Adds the cosine of every row."""
        name, values = first_floating(outputs, self.name)
        one = values.astype(np.float64)
        two = wanted_numbers(self.name, name, values, batch, original).astype(np.float64)
        if one.ndim < 2:
            raise UsageError(
                f"--eval {self.name} is for embeddings [n, ..., d], and output {name!r} has no second axis"
            )
        # A row of zeros has no direction; its product is zero already.
        lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
        cosines = (one * two).sum(-1) / np.where(lengths > 0, lengths, 1.0)
        self._sum += float(cosines.sum())
        self._count += cosines.size

    def value(self) -> float:
        """The mean cosine, between -1 and 1."""
        if not self._count:
            raise UsageError(f"--eval {self.name}: there is no embedding to compare")
        return self._sum / self._count


class Rmse(Metric):
    """Root of the mean squared error of the first floating output, over all its entries.

    The error is against labels that are numbers of its shape (an axis of size 1 may be missing), else against the
    original's output, of which it is 0. Source: Chai and Draxler, *Root mean square error (RMSE) or mean absolute error
    (MAE)?*, 2014, equation 2.
    """

    name = "rmse"
    higher_is_better = False
    share = False
    needs_labels = False
    against_original = True

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, outputs: Outputs, batch: Batch, original: Outputs | None) -> None:
        """Adds the squared error of every entry."""
        name, values = first_floating(outputs, self.name)
        labels = batch.labels
        # Labels of regressions are often one number a sample, where the output has an axis of one.
        if labels is not None and labels.dtype.kind == "f" and labels.shape == (*values.shape[:-1],):
            values = values[..., 0] if values.shape[-1] == 1 else values
        wanted = wanted_numbers(self.name, name, values, batch, original)
        self._sum += float(np.square(values.astype(np.float64) - wanted.astype(np.float64)).sum())
        self._count += values.size
        # Squares of finite numbers may overflow, too.
        if not np.isfinite(self._sum):
            raise ModelError(f"output {name!r} is infinite, so that --eval {self.name} is no number")

    def value(self) -> float:
        """The root mean squared error: 0 and more, in the unit of the output."""
        if not self._count:
            raise UsageError(f"--eval {self.name}: there is no number to compare")
        return sqrt(self._sum / self._count)
