"""N of every M input channels in a row are kept, for each filter and tap: the pattern of sparse tensor cores.

Standard ONNX has no operator for it, so zeros stay in the file, and save time where a runtime looks for the pattern.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compressor.structures.layer.geometry import maskable
from compressor.structures.masks.maker import ChannelOrder, WeightEnergy
from compressor.structures.masks.pieces import WeightMask
from compressor.structures.masks.structure import Structure

ROW = 4
"""M."""


HALF = 2
"""N by which orders are judged: the pattern that hardware has."""
ROWS, SWAPS_TRIED = 256, 400
"""Rows of weights that an order is judged by, and pairs of quadruples between which a swap is tried, at most."""


class NofM:
    """Masks of 3, 2 and 1 of 4; layers whose channels are no multiple of 4 have none."""

    def order(self, energy: WeightEnergy, seed: int) -> ChannelOrder:
        """The order of channels in which 2 of 4 keep most, or nearly (Pool and Yu, NeurIPS 2021).

        Channels are dealt to quadruples by their energy, so that strong ones do not meet, unless the order that is
        there is better; then two quadruples at a time swap the channels by which they keep most.
        """
        channels = energy.shape[1]
        rows = energy.reshape(len(energy), channels, -1).transpose(0, 2, 1).reshape(-1, channels)
        rng = np.random.default_rng(seed)
        rows = rows[rng.permutation(len(rows))[:ROWS]]
        found = max((np.arange(channels), _dealt(rows.sum(axis=0))), key=lambda order: _kept(rows[:, order]))
        quads = channels // ROW
        for _ in range(SWAPS_TRIED if quads > 1 else 0):
            one, two = rng.choice(quads, 2, replace=False)
            places = np.concatenate([np.arange(ROW) + ROW * one, np.arange(ROW) + ROW * two])
            found[places] = found[places][_swapped(rows[:, found[places]])]
        return found

    def masks(self, energy: WeightEnergy, seed: int) -> Iterator[tuple[str, WeightMask]]:  # noqa: ARG002 - nothing is drawn
        """Masks that keep 3, 2 and 1 of every four, the densest first; none for channels no multiple of four."""
        out, channels = energy.shape[:2]
        # Sparse cores read whole rows of four.
        if channels % ROW:
            return
        rows = energy.reshape(out, channels // ROW, ROW, -1)
        order = np.argsort(-rows, axis=2, kind="stable")
        for kept in range(ROW - 1, 0, -1):
            mask = np.zeros(rows.shape, np.bool_)
            np.put_along_axis(mask, order[:, :, :kept], True, axis=2)
            yield f"{kept} of {ROW}", mask.reshape(energy.shape)


def _kept(rows: WeightEnergy) -> float:
    """Energy of the strongest two of every four columns."""
    quads = rows.reshape(len(rows), -1, ROW)
    return float(np.partition(quads, ROW - HALF, axis=2)[:, :, ROW - HALF :].sum())


def _dealt(energy: WeightEnergy) -> ChannelOrder:
    """Channels dealt out to quadruples, the strongest first, forth and back."""
    ranks = np.argsort(-energy, kind="stable").reshape(ROW, -1)
    ranks[1::2] = ranks[1::2, ::-1]
    return np.asarray(ranks.T.ravel(), np.int64)


def _swapped(rows: WeightEnergy) -> ChannelOrder:
    """The best order of eight columns that differs from the present one in at most one pair."""
    orders = [np.arange(2 * ROW)]
    for one in range(ROW):
        for two in range(ROW, 2 * ROW):
            orders.append(np.arange(2 * ROW))
            orders[-1][[one, two]] = two, one
    quads = rows[:, np.stack(orders)].reshape(len(rows), len(orders), 2, ROW)
    kept = np.partition(quads, ROW - HALF, axis=3)[..., ROW - HALF :].sum(axis=(0, 2, 3))
    # The present order comes first, and stays unless another keeps more.
    return orders[int(kept.argmax())]


NM = Structure(masks=NofM, lowers=False, suits=maskable)
