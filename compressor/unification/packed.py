"""A unified weight as it is stored: sign bits, one magnitude a block, free blocks as they are, a map where kinds mix.

:class:`Packed` holds the parts and gives back the weight; what it gives back *is* the constrained weight, to the
last bit, and what the nodes of `unpack` compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.core.arrays import Array
from compressor.graph.ir.nodes import SHORT_REALS
from compressor.unification.assignment import FREE, PRUNED, UNIFIED, Kinds
from compressor.unification.layout import Blocking
from compressor.unification.projections import shared_values

HALF_TYPES = frozenset(dtype.numpy() for dtype in SHORT_REALS)
"""Types that numpy computes slowly with, or not at all: they are computed with as float32."""
DIGITS = MappingProxyType({2: 8, 3: 5, 4: 4, 16: 2, 256: 1})
"""Digits of a base that one byte holds."""


def digit_table(base: int) -> npt.NDArray[np.uint8]:
    """The digits of every byte, most significant first: uint8[base**digits, digits]."""
    count = DIGITS[base]
    bytes_ = np.arange(base**count)[:, None]
    return np.asarray(bytes_ // base ** np.arange(count - 1, -1, -1) % base, np.uint8)


def to_bytes(digits: Array, base: int) -> npt.NDArray[np.uint8]:
    """Digits, filled up with zeros to whole bytes."""
    count = DIGITS[base]
    filled = np.zeros(-(-digits.size // count) * count, np.uint8)
    filled[: digits.size] = digits.ravel()
    powers = base ** np.arange(count - 1, -1, -1)
    return np.asarray(filled.reshape(-1, count) @ powers, np.uint8)


def from_bytes(data: npt.NDArray[np.uint8], base: int, count: int) -> npt.NDArray[np.uint8]:
    """The first ``count`` digits of a byte string, the reverse of packing."""
    return digit_table(base)[data].ravel()[:count]


def work_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that numbers of ``dtype`` are computed with in; each is exact in it."""
    return np.dtype(np.float32) if dtype in HALF_TYPES else dtype


def in_work_type(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array in the type that it is computed with in."""
    return array.astype(work_type(array.dtype), copy=False)


@dataclass(frozen=True)
class StoredWeight:
    """What weights have in common that are stored in parts.

    Attributes:
        layout: the blocks.
        dtype: of the weight.
    """

    layout: Blocking
    dtype: np.dtype[Any]

    @property
    def work(self) -> np.dtype[Any]:
        """The type that parts are put together in; every stored number is exact in it."""
        return work_type(self.dtype)


@dataclass(frozen=True)
class Packed(StoredWeight):
    """The parts of one weight.

    Attributes:
        signs: uint8, one bit a weight of the stored blocks ``[n, U]`` in row-major order, 1 for minus.
        magnitudes: float16 or float32, ``[U]``; 0 is a pruned block that is stored like a unified one.
        scale: power of two that the magnitudes are multiplied by; 1 unless float16 is too narrow.
        free: blocks that are stored as they are, ``[n, F]``, in the weight's type.
        order: kinds in the order of the digits of ``map``; pruned blocks come with it only where the map says so.
        map: one digit a block, packed in bytes; None where all blocks are of one kind.
    """

    signs: npt.NDArray[np.uint8]
    magnitudes: Array
    scale: float
    free: Array
    order: tuple[int, ...]
    map: npt.NDArray[np.uint8] | None

    @property
    def stored(self) -> int:
        """Bytes that all stored parts take together."""
        parts = [self.signs, self.magnitudes, self.free]
        return sum(p.nbytes for p in parts) + (0 if self.map is None else self.map.nbytes)

    def values(self) -> npt.NDArray[Any]:
        """The shared absolute value of every stored block, in the type that is computed with."""
        return np.asarray(self.magnitudes.astype(self.work) * self.work.type(self.scale))

    def kinds(self) -> Kinds:
        """The kind of every block, with pruned ones told from their magnitude where the map does not."""
        found = np.full(self.layout.count, self.order[0], np.uint8)
        if self.map is not None:
            digits = from_bytes(self.map, len(self.order), self.layout.count)
            found = np.asarray(self.order, np.uint8)[digits]
        stored = np.flatnonzero(found == UNIFIED)
        # A magnitude of zero is how pruned blocks are stored where the map does not tell them.
        found[stored[self.magnitudes == 0]] = PRUNED
        return found

    def decode(self) -> Array:
        """The weight, as the nodes of the packed model compute it."""
        layout, values = self.layout, self.values()
        bits = from_bytes(self.signs, 2, layout.n * len(values)).reshape(layout.n, len(values))
        parts = {UNIFIED: np.where(bits.astype(bool), -values, values), FREE: self.free.astype(self.work)}
        blocks = parts.get(self.order[0], np.zeros((), self.work))
        if self.map is not None or self.order[0] == PRUNED:
            digits = np.zeros(layout.count, np.uint8)
            if self.map is not None:
                digits = from_bytes(self.map, len(self.order), layout.count)
            blocks = np.zeros((layout.n, layout.count), self.work)
            for digit, kind in enumerate(self.order):
                if kind in parts:
                    blocks[:, digits == digit] = parts[kind]
        found: Array = layout.weight(blocks).astype(self.dtype)
        return found


def pack_blocks(weight: Array, layout: Blocking, kinds: Kinds, magnitudes: str) -> Packed:
    """Packs ``weight``, whose blocks are of these kinds.

    Magnitudes are rounded to their type, and unified blocks that round to nothing are pruned. Of the two ways to
    store pruned blocks, with a magnitude of zero or in a map, the smaller is taken.

    Args:
        weight: of any floating type and of the layout's shape; blocks of a kind may satisfy it only nearly, as the
            shared value is computed here.
        layout: its blocks.
        kinds: uint8[B].
        magnitudes: ``"float16"`` or ``"float32"``.
    """
    wide = in_work_type(weight)
    blocks = layout.blocks(wide)
    shared = shared_values(blocks, layout.present)
    # Through the type of the weight, which is what unpacking ends with, so that nothing is lost there.
    values = np.where(kinds == UNIFIED, shared, 0).astype(weight.dtype).astype(wide.dtype)
    scale = _scale(values, np.finfo(magnitudes))
    rounded = (values / scale).astype(magnitudes)
    # What is too small for the stored type becomes zero, and is told so.
    kinds = np.where((kinds == UNIFIED) & (rounded == 0), PRUNED, kinds).astype(np.uint8)
    order = _order(kinds, layout.n, rounded.itemsize)
    kept = kinds == UNIFIED if PRUNED in order else kinds != FREE
    # A pruned block has no signs: a minus would unpack to -0.
    bits = (blocks[:, kept] < 0) & (rounded[kept] > 0)
    digits = np.zeros(layout.count, np.uint8)
    for digit, kind in enumerate(order):
        digits[kinds == kind] = digit
    if PRUNED not in order and UNIFIED in order:
        digits[kinds == PRUNED] = order.index(UNIFIED)
    return Packed(
        layout,
        weight.dtype,
        to_bytes(bits, 2),
        rounded[kept],
        scale,
        # From the weight as it came, so that free blocks keep their bits.
        np.ascontiguousarray(layout.blocks(weight)[:, kinds == FREE]),
        order,
        to_bytes(digits, len(order)) if len(order) > 1 else None,
    )


def _scale(values: npt.NDArray[Any], stored: np.finfo[Any]) -> float:
    """1 where the stored type holds all values to full precision, else the power of two that brings the largest of
    them just below its largest number."""
    positive = values[values > 0]
    if not positive.size or (positive.max() <= stored.max and positive.min() >= stored.smallest_normal):
        return 1.0
    # A power of two, as multiplying by it is exact; below the smallest normal one it would be rounded, or nothing.
    wanted = 2.0 ** np.ceil(np.log2(float(positive.max()) / float(stored.max)))
    return max(float(wanted), float(np.finfo(values.dtype).smallest_normal))


def _order(kinds: Kinds, n: int, itemsize: int) -> tuple[int, ...]:
    """The kinds that the map tells apart: without pruned ones where it is cheaper to store these as magnitudes of 0."""
    present = [kind for kind in (UNIFIED, FREE, PRUNED) if (kinds == kind).any()]
    if PRUNED not in present:
        return tuple(present)
    merged = [UNIFIED, *([FREE] if FREE in present else [])]
    zeros = int((kinds == PRUNED).sum()) * (n / 8 + itemsize)
    with_map = _map_bytes(len(present), kinds.size)
    return tuple(present) if with_map <= zeros + _map_bytes(len(merged), kinds.size) else tuple(merged)


def _map_bytes(base: int, count: int) -> int:
    return -(-count // DIGITS[base]) if base > 1 else 0
