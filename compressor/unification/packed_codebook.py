"""A weight of few values as it is stored: the codes, as few bits as they need, and the values of each codebook."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import numpy as np
import numpy.typing as npt

from compressor.core.arrays import Array
from compressor.unification.codebook import Codes, decoded, means
from compressor.unification.layout import Blocking
from compressor.unification.packed import StoredWeight, from_bytes, in_work_type, to_bytes

PART_WIDTHS = (8, 4, 2, 1)
"""Bits of a part: so many codes of a part fill a byte exactly."""


@dataclass(frozen=True)
class PackedCodebook(StoredWeight):
    """The parts of one weight; its layout has one block for each codebook.

    Attributes:
        parts: bits and bytes of each part of the codes ``[n, B]`` in row-major order, the most significant first. A
            code of three bits has a part of two and one of one.
        values: of each codebook, ``[B, K]``, float16 or float32.
    """

    parts: tuple[tuple[int, npt.NDArray[np.uint8]], ...]
    values: Array

    @property
    def stored(self) -> int:
        """Bytes of all parts."""
        return sum(data.nbytes for _, data in self.parts) + self.values.nbytes

    def codes(self) -> Codes:
        """The code of every weight of the blocks, uint8[n, B]."""
        shape = (self.layout.n, self.layout.count)
        found: Codes = np.zeros(shape, np.uint8)
        for bits, data in self.parts:
            found = np.asarray((found << bits) | from_bytes(data, 1 << bits, found.size).reshape(shape), np.uint8)
        return found

    def decode(self) -> Array:
        """The weight, as the nodes of the packed model compute it."""
        found: Array = self.layout.weight(decoded(self.values.astype(self.work).T, self.codes())).astype(self.dtype)
        return found

    def satisfied(self, weight: Array) -> bool:
        """Whether every weight is a value of its codebook, the one of its code, to the last bit."""
        # Through the same types as unpacking goes.
        table = self.values.astype(self.work).T.astype(self.dtype)
        return np.array_equal(self.layout.blocks(weight), decoded(table, self.codes()))


def bits_of(values: int) -> tuple[int, ...]:
    """The bits of each part of a code, most significant first: 2 and 1 for 8 values."""
    # The highest code decides, which is one less than the number of values.
    left, found = (values - 1).bit_length(), []
    for width in PART_WIDTHS:
        if left & width:
            found.append(width)
            left -= width
    return tuple(found)


def bytes_of(layout: Blocking, values: int, itemsize: int) -> int:
    """What a codebook of so many values takes, codes and values together."""
    codes = sum(-(-layout.n * layout.count // (8 // bits)) for bits in bits_of(values))
    return codes + layout.count * values * itemsize


def worthwhile(layout: Blocking, plain: int) -> bool:
    """Does a codebook take less than the ``plain`` bytes of the weight?"""
    return bytes_of(layout, layout.block.values, 2) < plain


def pack_codebook(weight: Array, layout: Blocking, codes: Codes, count: int, values: str = "float16") -> PackedCodebook:
    """Packs ``weight``, whose weights have these codes.

    Args:
        weight: of any floating type; weights of a code may differ a little, as the value is computed here.
        layout: one block for each codebook.
        codes: uint8[n, B].
        count: values of a codebook.
        values: ``"float16"`` or ``"float32"``, which is taken too where float16 cannot hold one.
    """
    wide = in_work_type(weight)
    table = means(layout.blocks(wide), codes, count).T.astype(weight.dtype).astype(wide.dtype)
    size, limits = np.abs(table[table != 0]), np.finfo(np.float16)
    # Numbers below the smallest normal one would lose bits in float16.
    fits = not size.size or (size.max() <= limits.max and size.min() >= limits.smallest_normal)
    parts, left = [], (count - 1).bit_length()
    for bits in bits_of(count):
        # From the highest bits on, as they are put together again by shifting.
        left -= bits
        parts.append((bits, to_bytes((codes >> left) & ((1 << bits) - 1), 1 << bits)))
    return PackedCodebook(layout, weight.dtype, tuple(parts), table.astype(values if fits else np.float32))


def entropy_bits(packed: PackedCodebook) -> float:
    """What an ideal coder needs: the entropy of the codes of each codebook, and its values."""
    total = float(packed.values.nbytes * 8)
    for column in packed.codes().T:
        shares = np.bincount(column) / len(column)
        total -= len(column) * sum(share * log2(share) for share in shares if share)
    return total
