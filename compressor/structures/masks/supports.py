"""Kernels that see a part of their window, another part for other channels (after arXiv 2210.12818; families are ours).

A family is a list of supports in the kernel; every input channel has one of them, for all filters, and as many channels
have each. Channels are given the supports under which most energy stays. Supports that are boxes become smaller kernels
on their channels. A cross fills its box, and would be zeros in a whole kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compressor.structures.layer.geometry import maskable
from compressor.structures.masks.maker import WeightEnergy, balanced, even
from compressor.structures.masks.pieces import WeightMask
from compressor.structures.masks.structure import Structure


class Supports:
    """Masks of families of supports; a kernel of one spatial axis has its rows alone."""

    def masks(self, energy: WeightEnergy, seed: int) -> Iterator[tuple[str, WeightMask]]:  # noqa: ARG002 - nothing is drawn
        """One mask a family."""
        channels = energy.shape[1]
        by_channel = energy.sum(axis=0)
        for name, family in families(energy.shape[2:]).items():
            # Every support needs a channel.
            if channels < len(family):
                continue
            gain = np.stack([(by_channel * support).reshape(channels, -1).sum(axis=1) for support in family], axis=1)
            of = balanced(gain, even(channels, len(family)))
            mask = np.broadcast_to(np.stack(family)[of][None], energy.shape)
            yield f"kernel of {name}", mask.copy()


def families(kernel: tuple[int, ...]) -> dict[str, list[WeightMask]]:
    """Name -> supports, bool[*kernel] each, by falling size."""
    found: dict[str, list[WeightMask]] = {}
    # A kernel of one tap has nothing to leave out.
    if max(kernel, default=1) == 1:
        return found
    centre = tuple(size // 2 for size in kernel)
    # With two taps a side corners are single taps, and a cross is nearly the whole kernel.
    if len(kernel) > 1 and min(kernel) > 2:
        cross = np.zeros(kernel, np.bool_)
        for axis in range(len(kernel)):
            cross[tuple(slice(None) if k == axis else c for k, c in enumerate(centre))] = True
        found["a cross"] = [cross]
        found["corners"] = [
            _box(kernel, [(0, size - 1) if low else (1, size) for size, low in zip(kernel, lows, strict=True)])
            for lows in np.ndindex(*(2,) * len(kernel))
        ]
    for axis, size in enumerate(kernel):
        if size > 1:
            name = {0: "rows", 1: "columns"}.get(axis, f"slices of axis {axis}")
            whole = [(0, n) for n in kernel]
            found[name] = [_box(kernel, [*whole[:axis], (k, k + 1), *whole[axis + 1 :]]) for k in range(size)]
    found["its centre"] = [_box(kernel, [(c, c + 1) for c in centre])]
    return found


def _box(kernel: tuple[int, ...], sides: list[tuple[int, int]]) -> WeightMask:
    support = np.zeros(kernel, np.bool_)
    support[tuple(slice(a, b) for a, b in sides)] = True
    return support


SUPPORTS = Structure(masks=Supports, suits=maskable)
