"""Where the blocks of a weight lie: index sets and nothing else.

A weight of any operator is read as four axes: groups, outputs, inputs, kernel taps (:class:`View`). Blocks tile the
last three (:class:`Layout`); what a whole block does not fit into is the tail, which belongs to no block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.config import ALL, BlockShape
from compressor.unifying.moves import Move, Permute, Reshape, Shape, apply, permuted, shortened

ROLES = "goit"
"""Group, output, input, tap: the axes of the canonical form, in order."""
TO_BLOCKS = (2, 4, 6, 0, 1, 3, 5)
"""From (g, outputs, in block, inputs, in block, taps, in block) to (in block ..., blocks ...)."""
FROM_BLOCKS = (3, 4, 0, 5, 1, 6, 2)


@dataclass(frozen=True)
class View:
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
    def of(shape: Shape, roles: str) -> View:
        """A weight each of whose axes has one role: ``"oitt"`` for a convolution, ``"io"`` for ``x @ w``."""
        return View(shape, shape, roles)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The split axes by role; axes of one role stay in their order."""
        return tuple(sorted(range(len(self.roles)), key=lambda axis: ROLES.index(self.roles[axis])))

    @cached_property
    def canonical(self) -> tuple[int, int, int, int]:
        """Sizes of (groups, outputs, inputs, taps); 1 where the weight has no such axis."""
        found = [prod(s for s, r in zip(self.split, self.roles, strict=True) if r == role) for role in ROLES]
        return found[0], found[1], found[2], found[3]

    @property
    def into(self) -> tuple[Move, ...]:
        """From the stored shape to the canonical one."""
        return Reshape(self.split), Permute(self.order), Reshape(self.canonical)

    @property
    def back(self) -> tuple[Move, ...]:
        """From the canonical shape to the stored one."""
        inverse = tuple(int(a) for a in np.argsort(self.order))
        return Reshape(tuple(self.split[a] for a in self.order)), Permute(inverse), Reshape(self.shape)


class Layout:
    """The blocks of one weight.

    Arrays of blocks have one column a block: ``[n, B]`` for B blocks of n weights. Blocks are numbered row-major
    over groups, outputs, inputs, taps, and so are the places inside a block.
    """

    def __init__(self, view: View, block: BlockShape) -> None:
        self.view, self.block = view, block
        groups, outputs, inputs, taps = view.canonical
        self.sizes = (groups, outputs, inputs * taps, 1) if block.matrix else (groups, outputs, inputs, taps)
        wanted = (block.outputs, block.inputs, block.taps)
        self.spans = tuple(size if span == ALL else span for span, size in zip(wanted, self.sizes[1:], strict=True))
        self.grid = (groups, *(size // span for span, size in zip(self.spans, self.sizes[1:], strict=True)))
        self.n = prod(self.spans)
        self.count = prod(self.grid)
        self.core = (groups, *(whole * span for whole, span in zip(self.grid[1:], self.spans, strict=True)))

    @property
    def tiled(self) -> Shape:
        """The core, each of its last three axes split into blocks and places inside a block."""
        g, o, i, t = self.grid
        return g, o, self.spans[0], i, self.spans[1], t, self.spans[2]

    @property
    def free(self) -> int:
        """Weights in no block."""
        return prod(self.sizes) - self.count * self.n

    @property
    def to_core(self) -> tuple[Move, ...]:
        """From blocks ``[n, B]`` to the core, which whole blocks fill."""
        return Reshape((*self.spans, *self.grid)), Permute(FROM_BLOCKS), Reshape(self.core)

    @property
    def to_weight(self) -> tuple[Move, ...]:
        """From blocks to the stored weight, where there is no tail."""
        return shortened((self.n, self.count), (*self.to_core, *self.back))

    @property
    def back(self) -> tuple[Move, ...]:
        """From the canonical weight to the stored one."""
        return Reshape(self.view.canonical), *self.view.back

    def blocks(self, weight: Any) -> Any:
        """The weights of each block: ``[n, B]`` of numpy or torch."""
        tiles = self._canonical(weight)[self._inside].reshape(self.tiled)
        return permuted(tiles, TO_BLOCKS).reshape(self.n, self.count)

    def with_blocks(self, weight: Any, blocks: Any) -> Any:
        """A copy of ``weight`` with these blocks; its tail stays."""
        core = apply(self.to_core, blocks)
        if not self.free:
            return apply(self.back, core)
        whole = self._canonical(weight) * 1  # a copy in numpy and in torch
        whole[self._inside] = core
        return apply(self.back, whole)

    def assembled(self, blocks: npt.NDArray[Any], tails: Iterable[tuple[int, npt.NDArray[Any]]]) -> npt.NDArray[Any]:
        """The weight that has these blocks and :meth:`tails`."""
        whole = apply(self.to_core, blocks)
        for axis, tail in tails:
            whole = np.concatenate([whole, tail], axis=axis)
        found: npt.NDArray[Any] = apply(self.back, whole)
        return found

    def indices(self) -> npt.NDArray[np.int64]:
        """The index sets themselves: positions in the flattened weight, ``[n, B]``."""
        found: npt.NDArray[np.int64] = self.blocks(np.arange(prod(self.view.shape)).reshape(self.view.shape))
        return found

    def tails(self, weight: Any) -> list[tuple[int, Any]]:
        """What lies beyond the core, from the innermost axis out: (canonical axis, array to append there)."""
        whole, found = self._canonical(weight), []
        for axis in (3, 2, 1):
            if self.core[axis] < self.sizes[axis]:
                inner = tuple(slice(0, size) for size in self.core[:axis])
                found.append((axis, whole[(*inner, slice(self.core[axis], None))]))
        return found

    @property
    def _inside(self) -> tuple[slice, ...]:
        return tuple(slice(0, size) for size in self.core)

    def _canonical(self, weight: Any) -> Any:
        return apply(self.view.into, weight).reshape(self.sizes)
