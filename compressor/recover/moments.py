"""Sums over rows that arrive batch by batch: means, variances and products, in float64 about a first guess."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from compressor.recover.form import Matrix


@dataclass
class Moments:
    """Means of inputs and outputs and, if asked for, their covariances.

    All sums are taken about the means of the first batch, so that large means do not cancel.

    Attributes:
        second: take the sums of products, too.
        count: rows so far.
    """

    second: bool
    count: int = 0
    _shifts: tuple[Matrix, Matrix] | None = None
    _sums: list[Matrix] = field(default_factory=list)

    def add(self, x: Matrix, y: Matrix) -> None:
        """Rows [groups, rows, unknowns] and [groups, rows, out]."""
        if self._shifts is None:
            self._shifts = x.mean(axis=1), y.mean(axis=1)
        x, y = x - self._shifts[0][:, None], y - self._shifts[1][:, None]
        found = [x.sum(axis=1), y.sum(axis=1)]
        if self.second:
            found += [x.transpose(0, 2, 1) @ x, y.transpose(0, 2, 1) @ x]
        else:
            found += [np.square(x).sum(axis=1), np.square(y).sum(axis=1)]
        if not self._sums:
            self._sums = found
        else:
            for k, part in enumerate(found):
                self._sums[k] += part
        self.count += x.shape[1]

    @property
    def means(self) -> tuple[Matrix, Matrix]:
        """[groups, unknowns] and [groups, out]."""
        assert self._shifts is not None
        return self._shifts[0] + self._sums[0] / self.count, self._shifts[1] + self._sums[1] / self.count

    @property
    def variances(self) -> tuple[Matrix, Matrix]:
        """[groups, unknowns] and [groups, out]; without second moments only."""
        drift = [s / self.count for s in self._sums[:2]]
        return tuple(s / self.count - np.square(d) for s, d in zip(self._sums[2:], drift, strict=True))  # type: ignore[return-value]

    def products(self) -> tuple[Matrix, Matrix]:
        """Centred sums (not means) of x x' [groups, unknowns, unknowns] and y x' [groups, out, unknowns]."""
        x, y = (s / self.count for s in self._sums[:2])
        inner = self._sums[2] - self.count * x[:, :, None] * x[:, None, :]
        outer = self._sums[3] - self.count * y[:, :, None] * x[:, None, :]
        return inner, outer
