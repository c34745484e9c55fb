"""Where the blocks of a weight lie: index sets and nothing else.

A weight of any operator is read as four axes: groups, outputs, inputs, kernel taps (:class:`CanonicalAxes`). Blocks
tile the last three (:class:`Blocking`); at the edges, where no whole block fits, they are smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.config import ALL, BlockShape
from compressor.unification.moves import LayoutMove, Permute, Reshape, Shape, apply, library, permuted, shortened

ROLES = "goit"
"""Group, output, input, tap: the axes of the canonical form, in order."""
TO_BLOCKS = (2, 4, 6, 0, 1, 3, 5)
"""From (g, outputs, in block, inputs, in block, taps, in block) to (in block ..., blocks ...)."""
FROM_BLOCKS = (3, 4, 0, 5, 1, 6, 2)


@dataclass(frozen=True)
class CanonicalAxes:
    """How the axes of a weight read as groups, outputs, inputs and taps.

    Attributes:
        shape: of the weight as it is stored.
        split: sizes of its axes after splitting those with several meanings, such as (group · output).
        roles: one letter of ``ROLES`` for each of them.
    """

    shape: Shape
    split: Shape
    roles: str

    @staticmethod
    def of(shape: Shape, roles: str) -> CanonicalAxes:
        """A weight each of whose axes has one role: ``"oitt"`` for a convolution, ``"io"`` for ``x @ w``."""
        return CanonicalAxes(shape, shape, roles)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The split axes by role; axes of one role stay in their order."""
        # Sorting is stable, so that axes of one role keep their order.
        return tuple(sorted(range(len(self.roles)), key=lambda axis: ROLES.index(self.roles[axis])))

    @cached_property
    def canonical(self) -> tuple[int, int, int, int]:
        """Sizes of (groups, outputs, inputs, taps); 1 where the weight has no such axis."""
        found = [prod(s for s, r in zip(self.split, self.roles, strict=True) if r == role) for role in ROLES]
        return found[0], found[1], found[2], found[3]

    @property
    def into(self) -> tuple[LayoutMove, ...]:
        """From the stored shape to the canonical one."""
        return Reshape(self.split), Permute(self.order), Reshape(self.canonical)

    @property
    def back(self) -> tuple[LayoutMove, ...]:
        """From the canonical shape to the stored one."""
        # The inverse permutation.
        inverse = tuple(int(a) for a in np.argsort(self.order))
        return Reshape(tuple(self.split[a] for a in self.order)), Permute(inverse), Reshape(self.shape)


class Blocking:
    """The blocks of one weight.

    Arrays of blocks have one column a block: ``[n, B]`` for B blocks of n weights. Blocks are numbered row-major
    over groups, outputs, inputs, taps, and so are the places inside a block. A smaller block at an edge has its last
    weights several times, which :attr:`present` tells from the others.
    """

    def __init__(self, view: CanonicalAxes, block: BlockShape) -> None:
        self.view, self.block = view, block
        groups, outputs, inputs, taps = view.canonical
        self.sizes = (groups, outputs, inputs * taps, 1) if block.matrix else (groups, outputs, inputs, taps)
        wanted = (block.outputs, block.inputs, block.taps)
        self.spans = tuple(size if span == ALL else span for span, size in zip(wanted, self.sizes[1:], strict=True))
        # Rounded up: a smaller block at the edge counts as one.
        self.grid = (groups, *(-(-size // span) for span, size in zip(self.spans, self.sizes[1:], strict=True)))
        self.n = prod(self.spans)
        self.count = prod(self.grid)
        self.core = (groups, *(whole * span for whole, span in zip(self.grid[1:], self.spans, strict=True)))

    @property
    def fits(self) -> bool:
        """Is no block larger than the weight, and each larger than one weight?"""
        return self.n > 1 and all(span <= size for span, size in zip(self.spans, self.sizes[1:], strict=True))

    @property
    def ragged(self) -> bool:
        """Are there smaller blocks at an edge?"""
        return self.core != self.sizes

    @cached_property
    def present(self) -> npt.NDArray[np.float32] | None:
        """1 for every weight, 0 where it stands again: ``[n, B]``; None where all blocks are whole."""
        if not self.ragged:
            return None
        whole = np.zeros(self.core, np.float32)
        whole[tuple(slice(0, size) for size in self.sizes)] = 1
        found: npt.NDArray[np.float32] = permuted(whole.reshape(self.tiled), TO_BLOCKS).reshape(self.n, self.count)
        return found

    @cached_property
    def extents(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Outputs, and inputs times taps, of each block: ``[B]`` both."""
        parts = [
            np.minimum(span, size - span * np.arange(whole))
            for span, size, whole in zip(self.spans, self.sizes[1:], self.grid[1:], strict=True)
        ]
        outputs, inputs, taps = (np.broadcast_to(a, self.grid[1:]) for a in np.ix_(*parts))
        groups = self.grid[0]
        return np.tile(outputs.ravel(), groups), np.tile((inputs * taps).ravel(), groups)

    @property
    def tiled(self) -> Shape:
        """The core, each of its last three axes split into blocks and places inside a block."""
        g, o, i, t = self.grid
        return g, o, self.spans[0], i, self.spans[1], t, self.spans[2]

    @property
    def to_core(self) -> tuple[LayoutMove, ...]:
        """From blocks ``[n, B]`` to the core: the canonical weight, filled up to whole blocks."""
        return Reshape((*self.spans, *self.grid)), Permute(FROM_BLOCKS), Reshape(self.core)

    @property
    def to_weight(self) -> tuple[LayoutMove, ...]:
        """From blocks to the stored weight, where all blocks are whole."""
        return shortened((self.n, self.count), (*self.to_core, *self.back))

    @property
    def back(self) -> tuple[LayoutMove, ...]:
        """From the canonical weight to the stored one."""
        return Reshape(self.view.canonical), *self.view.back

    def blocks(self, weight: Any) -> Any:
        """The weights of each block: ``[n, B]`` of numpy or torch."""
        whole = apply(self.view.into, weight).reshape(self.sizes)
        for axis, (size, core) in enumerate(zip(self.sizes, self.core, strict=True)):
            if size < core:
                last = whole[(*[slice(None)] * axis, slice(size - 1, size))]
                # The last weight again: it changes neither the smallest nor the largest of its block, as a zero
                # would.
                whole = library(whole).concatenate([whole, *[last] * (core - size)], axis=axis)
        return permuted(whole.reshape(self.tiled), TO_BLOCKS).reshape(self.n, self.count)

    def weight(self, blocks: Any) -> Any:
        """The weight that has these blocks."""
        core = apply(self.to_core, blocks)
        # What was filled up is cut off again.
        return apply(self.back, core[tuple(slice(0, size) for size in self.sizes)])

    def indices(self) -> npt.NDArray[np.int64]:
        """The index sets themselves: positions in the flattened weight, ``[n, B]``."""
        found: npt.NDArray[np.int64] = self.blocks(np.arange(prod(self.view.shape)).reshape(self.view.shape))
        return found
