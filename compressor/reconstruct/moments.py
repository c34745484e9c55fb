"""Sums over rows that arrive batch by batch: means, variances and products, in float64 about a first guess."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from compressor.reconstruct.form import Matrix

FEWEST = 256
"""Rows that are multiplied together at least, however few unknowns there are."""


@dataclass
class Moments:
    """Means and variances of inputs and outputs and, if asked for, all their covariances.

    All sums are taken about the means of the first batch, so that large means do not cancel.

    Attributes:
        second: take the sums of products, too.
        count: rows so far.
    """

    second: bool
    count: int = 0
    _shifts: tuple[Matrix, Matrix] | None = None
    _sums: list[Matrix] = field(default_factory=list)
    _waiting: list[tuple[Matrix, Matrix]] = field(default_factory=list)

    def add(self, x: Matrix, y: Matrix) -> None:
        """Rows [groups, rows, unknowns] and [groups, rows, out]; small batches wait until a product is worth it."""
        # Means of the first batch are near enough: all they have to do is to keep sums from cancelling.
        if self._shifts is None:
            self._shifts = x.mean(axis=1), y.mean(axis=1)
        self._waiting.append((x - self._shifts[0][:, None], y - self._shifts[1][:, None]))
        self.count += x.shape[1]
        # A product of few rows reads and writes the whole covariance for little; rows wait until it pays.
        if sum(part.shape[1] for part, _ in self._waiting) >= max(x.shape[2], FEWEST):
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        parts = [np.concatenate(part, axis=1) for part in zip(*self._waiting, strict=True)]
        # A single part is taken as it is, without a copy.
        x, y = parts if len(self._waiting) > 1 else self._waiting[0]
        self._waiting = []
        found = [x.sum(axis=1), y.sum(axis=1), np.square(x).sum(axis=1), np.square(y).sum(axis=1)]
        if self.second:
            found += [x.transpose(0, 2, 1) @ x, y.transpose(0, 2, 1) @ x]
        if not self._sums:
            self._sums = found
        else:
            for k, part in enumerate(found):
                self._sums[k] += part

    @property
    def means(self) -> tuple[Matrix, Matrix]:
        """[groups, unknowns] and [groups, out]."""
        assert self._shifts is not None
        self._flush()
        return self._shifts[0] + self._sums[0] / self.count, self._shifts[1] + self._sums[1] / self.count

    @property
    def variances(self) -> tuple[Matrix, Matrix]:
        """[groups, unknowns] and [groups, out]."""
        self._flush()
        drift = [s / self.count for s in self._sums[:2]]
        # Sums are about the shifts, so the square of the mean about them comes off; the shift itself cancels.
        x, y = (s / self.count - np.square(d) for s, d in zip(self._sums[2:4], drift, strict=True))
        return x, y

    def products(self) -> tuple[Matrix, Matrix]:
        """Centred sums (not means) of x x' [groups, unknowns, unknowns] and y x' [groups, out, unknowns]."""
        self._flush()
        x, y = (s / self.count for s in self._sums[:2])
        # Centring by subtraction is safe here, since sums were taken about means that are nearly right.
        inner = self._sums[4] - self.count * x[:, :, None] * x[:, None, :]
        outer = self._sums[5] - self.count * y[:, :, None] * x[:, None, :]
        return inner, outer
