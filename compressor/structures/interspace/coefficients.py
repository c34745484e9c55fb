"""Masks over the coefficients of a layer: single ones, or whole basis kernels of an input channel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from compressor.structures.layer.geometry import maskable, spatial
from compressor.structures.masks.maker import WeightEnergy
from compressor.structures.masks.pieces import WeightMask
from compressor.structures.masks.structure import Structure

COEFFICIENT_SHARES = (0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05)
"""Of the coefficients that are kept."""


class Coefficients:
    """Masks of the strongest coefficients, wherever they are."""

    def masks(self, energy: WeightEnergy, seed: int) -> Iterator[tuple[str, WeightMask]]:  # noqa: ARG002 - nothing is drawn
        """One mask a share, the densest first; every filter keeps its strongest coefficient."""
        order = np.argsort(-energy, axis=None, kind="stable")
        best = energy.reshape(len(energy), -1).argmax(axis=1)
        for share in COEFFICIENT_SHARES:
            mask = np.zeros(energy.size, np.bool_)
            mask[order[: max(1, round(share * energy.size))]] = True
            # A filter without any would be a constant, which is pruning of channels.
            rows = mask.reshape(len(energy), -1)
            rows[np.arange(len(rows)), best] = True
            yield f"{share:.0%} of the coefficients", mask.reshape(energy.shape)


class Columns:
    """Masks under which every input channel keeps as many basis kernels, the same for all filters.

    That is a depthwise convolution with the kernels that a channel keeps, and a pointwise one of the coefficients.
    """

    def masks(self, energy: WeightEnergy, seed: int) -> Iterator[tuple[str, WeightMask]]:  # noqa: ARG002 - nothing is drawn
        """One mask for each number of basis kernels, the densest first; none for kernels of one tap."""
        channels = energy.shape[1]
        columns = energy.reshape(len(energy), channels, -1).sum(axis=0)
        order = np.argsort(-columns, axis=1, kind="stable")
        for kept in range(columns.shape[1] - 1, 0, -1):
            mask = np.zeros(columns.shape, np.bool_)
            np.put_along_axis(mask, order[:, :kept], True, axis=1)
            whole = np.broadcast_to(mask.reshape(1, *energy.shape[1:]), energy.shape)
            yield f"{kept} of {columns.shape[1]} basis kernels a channel", whole.copy()


def kernels_of(mask: WeightMask) -> npt.NDArray[np.int64] | None:
    """int64[channels, kept]: the basis kernels that channels keep, where all filters keep as many of the same ones."""
    flat = mask.reshape(len(mask), mask.shape[1], -1)
    counts = flat[0].sum(axis=1)
    if not (flat == flat[:1]).all() or (counts != counts[0]).any() or not 0 < counts[0] < flat.shape[2]:
        return None
    return np.nonzero(flat[0])[1].reshape(len(counts), -1)


INTERSPACE = Structure(masks=Coefficients, basis=True, suits=maskable)
COLUMNS = Structure(masks=Columns, basis=True, suits=spatial)
