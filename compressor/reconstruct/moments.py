"""Sums over rows that arrive batch by batch: means, variances and products, in float64 about a first guess.

Rows are summed up once they are as many as their unknowns. Fewer of them are smaller than the sums of their products,
and what is solved is then solved over rows (:func:`compressor.reconstruct.ridge.ridge_of_rows`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from compressor.reconstruct.form import Matrix

FEWEST_ROWS = 256
"""Rows that are multiplied together at least, however few unknowns there are."""


@dataclass
class Moments:
    """Means and variances of inputs and outputs and, if asked for, all their covariances.

    All sums are taken about the means of the first batch, so that large means do not cancel.

    Attributes:
        second: take the sums of products, too.
        whole: rows stay as they are, however many they become.
        count: rows so far.
    """

    second: bool
    whole: bool = False
    count: int = 0
    _shifts: tuple[Matrix, Matrix] | None = None
    _totals: list[Matrix] = field(default_factory=list)
    _sums: list[Matrix] = field(default_factory=list)
    _waiting: list[tuple[Matrix, Matrix]] = field(default_factory=list)

    def add(self, x: Matrix, y: Matrix) -> None:
        """Rows [groups, rows, unknowns] and [groups, rows, out]; small batches wait until a product is worth it."""
        # Means of the first batch are near enough: all they have to do is to keep sums from cancelling.
        if self._shifts is None:
            self._shifts = x.mean(axis=1), y.mean(axis=1)
        moved = x - self._shifts[0][:, None], y - self._shifts[1][:, None]
        self._waiting.append(moved)
        self.count += x.shape[1]
        totals = [part.sum(axis=1) for part in moved]
        self._totals = [a + b for a, b in zip(self._totals, totals, strict=True)] if self._totals else totals
        # A product of few rows reads and writes the whole covariance for little; rows wait until it pays.
        if not self.whole and sum(part.shape[1] for part, _ in self._waiting) >= max(x.shape[2], FEWEST_ROWS):
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        parts = [np.concatenate(part, axis=1) for part in zip(*self._waiting, strict=True)]
        # A single part is taken as it is, without a copy.
        x, y = parts if len(self._waiting) > 1 else self._waiting[0]
        self._waiting = []
        found = [np.square(x).sum(axis=1), np.square(y).sum(axis=1)]
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
        x, y = (shift + total / self.count for shift, total in zip(self._shifts, self._totals, strict=True))
        return x, y

    @property
    def rows(self) -> tuple[Matrix, Matrix]:
        """All rows about their means, [groups, rows, unknowns] and [groups, rows, out]; none was summed up so far."""
        assert not self._sums
        parts = (np.concatenate(part, axis=1) for part in zip(*self._waiting, strict=True))
        x, y = (part - total[:, None] / self.count for part, total in zip(parts, self._totals, strict=True))
        return x, y

    @property
    def variances(self) -> tuple[Matrix, Matrix]:
        """[groups, unknowns] and [groups, out]."""
        self._flush()
        drift = [total / self.count for total in self._totals]
        # Sums are about the shifts, so the square of the mean about them comes off; the shift itself cancels.
        x, y = (s / self.count - np.square(d) for s, d in zip(self._sums[:2], drift, strict=True))
        return x, y

    def products(self) -> tuple[Matrix, Matrix]:
        """Centred sums (not means) of x x' [groups, unknowns, unknowns] and y x' [groups, out, unknowns]."""
        self._flush()
        x, y = (total / self.count for total in self._totals)
        # Centring by subtraction is safe here, since sums were taken about means that are nearly right.
        inner = self._sums[2] - self.count * x[:, :, None] * x[:, None, :]
        outer = self._sums[3] - self.count * y[:, :, None] * x[:, None, :]
        return inner, outer
