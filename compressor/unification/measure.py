"""What unification of a weight costs and saves: error, bits, multiplications, additions."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from compressor.core.arrays import Array
from compressor.unification.assignment import FREE, PRUNED, UNIFIED, Kinds
from compressor.unification.layout import Blocking
from compressor.unification.packed import Packed, in_work_type
from compressor.unification.packed_codebook import PackedCodebook, entropy_bits


@dataclass(frozen=True)
class WeightStatistics:
    """Numbers of one unified weight.

    Attributes:
        counts: blocks by kind.
        values: different absolute values in the weight.
        error: ‖w - z‖ / ‖w‖, how far the unified weight is from the original.
        bits: what an ideal coder needs, see :func:`ideal_bits`.
        multiplications: of all nodes together, as far as the structure tells; see :func:`operations`.
        additions: likewise.
    """

    counts: dict[int, int]
    values: int
    error: float
    bits: float
    multiplications: int
    additions: int


def weight_statistics(original: Array, packed: Packed, constrained: Array, macs: int) -> WeightStatistics:
    """All numbers of one weight whose nodes take ``macs`` multiply-accumulates."""
    layout, kinds = packed.layout, packed.kinds()
    counts = {kind: int((kinds == kind).sum()) for kind in (UNIFIED, PRUNED, FREE)}
    one, two = in_work_type(original), in_work_type(constrained)
    gap = one - two
    norm = float(np.vdot(one, one))
    products, sums = operations(layout, kinds)
    # How often each weight is used: positions, for a convolution.
    uses = macs / prod(layout.view.shape)
    return WeightStatistics(
        counts,
        _distinct(packed),
        float(np.sqrt(np.vdot(gap, gap) / norm)) if norm else 0.0,
        ideal_bits(layout, kinds, original.dtype.itemsize * 8, packed.magnitudes.dtype.itemsize * 8),
        round(uses * products),
        round(uses * sums),
    )


def measure_codebook(original: Array, packed: PackedCodebook, constrained: Array, macs: int) -> WeightStatistics:
    """The same of a weight of few values: with the inputs of each value added up first, an output needs as many
    multiplications as there are values, or inputs times taps, whichever is less."""
    layout = packed.layout
    _, outputs, inputs, taps = layout.view.canonical
    one, two = in_work_type(original), in_work_type(constrained)
    norm = float(np.linalg.norm(one))
    uses, groups = macs / prod(layout.view.shape), layout.view.canonical[0]
    return WeightStatistics(
        {UNIFIED: layout.count, PRUNED: 0, FREE: 0},
        len(np.unique(abs(two))),
        float(np.linalg.norm(one - two)) / norm if norm else 0.0,
        entropy_bits(packed),
        round(uses * groups * outputs * min(packed.values.shape[1], inputs * taps)),
        macs,
    )


def ideal_bits(layout: Blocking, kinds: Kinds, free_bits: int, value_bits: int) -> float:
    """Σ_free n·b + Σ_unified (b_a + n) + H(kinds): b bits for a weight, b_a for a shared value, 1 for a sign, and the
    entropy of the kinds (arXiv:2106.08301)."""
    shares = np.unique(kinds, return_counts=True)[1] / layout.count
    entropy = -layout.count * float((shares * np.log2(shares)).sum())
    sizes = np.prod(layout.extents, axis=0)
    free, unified = (int(sizes[kinds == kind].sum()) for kind in (FREE, UNIFIED))
    return free * free_bits + int((kinds == UNIFIED).sum()) * value_bits + unified + entropy


def operations(layout: Blocking, kinds: Kinds) -> tuple[int, int]:
    """Multiplications and additions when every weight is used once.

    In a unified block either the signed sum of each output's inputs is multiplied by the shared value, or each input
    is multiplied once and added with signs: the smaller number of outputs and of inputs times taps. Additions stay
    one a weight. Zero blocks take neither.
    """
    sizes, least = np.prod(layout.extents, axis=0), np.minimum(*layout.extents)
    free, unified = (int(sizes[kinds == kind].sum()) for kind in (FREE, UNIFIED))
    return free + int(least[kinds == UNIFIED].sum()), free + unified


def satisfied(weight: Array, original: Array, layout: Blocking, kinds: Kinds) -> bool:
    """Whether every block is exactly what its kind says, free ones untouched, to the last bit."""
    blocks, before = layout.blocks(weight), layout.blocks(original)
    size = abs(blocks)
    # Against the first of the block, bit by bit: a unified block has one absolute value, not nearly one.
    same = bool((size[:, kinds == UNIFIED] == size[:1, kinds == UNIFIED]).all())
    zero = not size[:, kinds == PRUNED].any()
    free = np.array_equal(blocks[:, kinds == FREE], before[:, kinds == FREE])
    return same and zero and free


def _distinct(packed: Packed) -> int:
    zeros = np.zeros(int(PRUNED in packed.order), packed.dtype)
    parts = [zeros, packed.values().astype(packed.dtype), packed.free]
    found = [np.unique(abs(in_work_type(part)).ravel()) for part in parts]
    return len(np.unique(np.concatenate(found)))
