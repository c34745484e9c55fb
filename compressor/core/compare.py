"""How far arrays are from those that were expected, and how far rounding lets them be.

An error counts against the largest magnitude of its *channel*: a wrong small channel must not hide beside a huge
one. Rounding then is no small thing in a channel whose numbers cancel, so what rounding does to it can be measured
(:func:`rounding_spread`) and is allowed on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from compressor.core.arrays import Array, Floats

TINY = 1e-300
"""In the place of a sum of squares that is zero, where it is divided by or its logarithm taken."""
COARSEST = MappingProxyType(
    {"float16": 1e-2, "bfloat16": 5e-2, "float32": 0.0, "float64": 0.0, "complex64": 0.0, "complex128": 0.0}
)
"""Smallest relative tolerance that makes sense for a result of this type: some units in its last place (``_UNITS``)."""
INTEGER_SHARE = 1e-3
"""Share of integer or boolean results that rounding may turn, as it turns ties of a maximum."""
ROUNDING, SMALL = 64, 1e-4
"""Roundings of the largest entry that any channel is allowed without asking, and the share of that entry below which a
channel is so small that one could hide in them."""
GRID_SHARE = 0.25
"""Of a step of the grid on which numbers lie: with the margin of 16 that is four steps, the most that was seen."""
DECIDED = 0.01
"""Share of its largest entry by which rounding moves a channel that it decides."""

Wide = Floats | npt.NDArray[np.complex128]
_UNITS = MappingProxyType(
    {
        "float16": 2.0**-10,
        "bfloat16": 2.0**-7,
        "float32": 2.0**-23,
        "float64": 2.0**-52,
        "complex64": 2.0**-23,
        "complex128": 2.0**-52,
    }
)


@dataclass(frozen=True)
class Tolerance:
    """What may differ.

    Attributes:
        rtol: error, as a share of the largest magnitude of the array, or of its channel.
        atol: error on top of that.
        by_channel: whether each channel is held against its own largest magnitude.
    """

    rtol: float
    atol: float = 0.0
    by_channel: bool = False


@dataclass(frozen=True)
class ArrayDistance:
    """The difference of two arrays.

    Attributes:
        max_abs, mean_abs: of the finite entries; infinite where shapes, NaNs or infinities differ. Of integers,
            truth values and texts the share of entries that differ.
        max_rel: difference of the entry that decides, as a share of the largest magnitude in the first array: of the
            largest difference, and where the two fail of the one that is furthest over what was allowed.
        channel_rel: largest difference as a share of the largest magnitude of its channel.
        cosine: of the two as vectors; None for what has no length or is no number.
        agree: rows whose largest entry is at the same place, for arrays [n, classes]; None for others.
        rows: all rows, where ``agree`` is a number.
        tolerance: relative error allowed at that entry: no smaller than the coarser of the two types resolves.
        compared: entries that count.
        passed: within tolerance.
    """

    max_abs: float
    mean_abs: float
    max_rel: float
    channel_rel: float
    cosine: float | None
    agree: int | None
    rows: int
    tolerance: float
    compared: int
    passed: bool


def is_real(array: Array) -> bool:
    """Does the array hold real numbers, of any precision?"""
    return has_rounding(array) and not np.iscomplexobj(array)


def is_half(array: Array) -> bool:
    """Does it hold numbers of half precision, with 11 bits (float16) or 8 (bfloat16)?"""
    return has_rounding(array) and array.dtype.itemsize == 2


def has_rounding(array: Array) -> bool:
    """Does it hold real or complex numbers? Of complex ones magnitudes count, and so do those of differences."""
    return array.dtype.name in COARSEST


def _widened(array: Array) -> Wide:
    """The numbers in the widest type: numpy's own functions do not take all of bfloat16."""
    return array.astype(np.complex128) if np.iscomplexobj(array) else array.astype(np.float64)


def is_finite(array: Array) -> bool:
    """Are all numbers of an array finite? What holds neither real nor complex numbers is."""
    return not has_rounding(array) or bool(np.isfinite(_widened(array)).all())


def distance(expected: Array, found: Array, tolerance: Tolerance, noise: Array | None = None) -> ArrayDistance:
    """Compares ``found`` with ``expected``; equal infinities and NaNs do not count.

    Args:
        expected: what should be there.
        found: what is there.
        tolerance: what may differ.
        noise: what rounding alone does, from :func:`rounding_spread`, by entry; where it is infinite rounding
            decides, and nothing is compared. Of integers one number, the share of entries that rounding turns.
    """
    if not (has_rounding(expected) and has_rounding(found)):
        return _of_symbols(expected, found, noise)
    # No tolerance can be finer than the coarser of the two types.
    rtol = max(tolerance.rtol, *(COARSEST[array.dtype.name] for array in (expected, found)))
    if expected.shape != found.shape:
        return _infinite(rtol)
    one, two = _widened(expected), _widened(found)
    counts = np.ones(one.shape, np.bool_) if noise is None else np.isfinite(np.broadcast_to(noise, one.shape))
    finite = np.isfinite(one)
    odd = counts & ~finite
    # A NaN or an infinity has to stand in the same places of both, unless rounding decides there.
    if not np.array_equal(counts & finite, counts & np.isfinite(two)) or not _same(one[odd], two[odd]):
        return _infinite(rtol)
    agree, rows = _agreement(one, two)
    finite &= counts
    scale = _scales(one, by_channel=tolerance.by_channel)[finite]
    # Runtimes may flush subnormal numbers to zero, so that differences below the smallest normal one are none.
    allowed = rtol * scale + max(tolerance.atol, float(np.finfo(np.float32).tiny))
    if tolerance.by_channel:
        # Never more than the tolerance of the whole output, or this would allow more than without channels.
        allowed += _roundings(scale, min(rtol, ROUNDING * unit(expected)))
    if noise is not None:
        allowed = allowed + np.broadcast_to(noise, one.shape)[finite].astype(np.float64)
    one, two = one[finite], two[finite]
    if not one.size:
        return ArrayDistance(0.0, 0.0, 0.0, 0.0, None, agree, rows, rtol, 0, passed=True)
    gap, whole = np.abs(one - two), float(np.abs(one).max())
    norms = float(np.linalg.norm(one)) * float(np.linalg.norm(two))
    passed = bool((gap <= allowed).all())
    # Where the two fail, the entry that is furthest over what was allowed there, or its numbers would look like a pass.
    largest = int(np.argmax(gap if passed else gap - allowed))
    return ArrayDistance(
        max_abs=float(gap.max()),
        mean_abs=float(gap.mean()),
        max_rel=float(gap[largest]) / whole if whole else float(gap[largest]),
        channel_rel=float((gap / np.where(scale > 0, scale, 1.0)).max()),
        cosine=float(np.vdot(one, two).real) / norms if norms else None,
        agree=agree,
        rows=rows,
        # What was allowed for that very entry, so that a report never sets an error beside another one's tolerance.
        tolerance=_shown(rtol, float(allowed[largest]) / (whole or 1.0), passed=passed, noisy=noise is not None),
        compared=int(one.size),
        passed=passed,
    )


def _shown(rtol: float, allowed: float, *, passed: bool, noisy: bool) -> float:
    # A small channel is allowed less than the whole output, which only matters to a reader where it was too much.
    if passed:
        return max(rtol, allowed) if noisy else rtol
    return allowed


def rounding_spread(base: Array, variants: Sequence[Array]) -> Array:
    """How far rounding moves ``base``: the largest difference of its variants, by channel.

    At least ``GRID_SHARE`` of the step of the grid on which its numbers lie, up to the unit of its type.

    Infinite where a variant is NaN or infinite and ``base`` is not, or the other way round. For what is neither a real
    nor a complex number the largest share of entries that differ.

    Returns:
        float64, of the shape of ``base`` for such numbers, else a scalar.
    """
    alike = [v for v in variants if v.shape == base.shape]
    if not has_rounding(base):
        shares = [float(np.mean(np.asarray(v != base, bool))) for v in alike if v.size]
        return np.asarray(max(shares, default=0.0))
    wide = _widened(base)
    moved = np.zeros(wide.shape)
    for other in map(_widened, alike):
        with np.errstate(invalid="ignore"):
            # Infinity minus infinity is NaN, which ``same`` takes care of.
            gap = np.abs(other - wide)
        same = (wide == other) | (np.isnan(wide) & np.isnan(other))
        moved = np.maximum(moved, np.where(same, 0.0, np.where(np.isfinite(gap), gap, np.inf)))
    if not moved.size:
        return moved
    spread = _evened(_by_channel(moved), _scales(wide, by_channel=True))
    # Numbers on a coarse grid stand still as a rule when inputs move by a last bit, and then move by a whole step.
    return spread if np.iscomplexobj(base) else np.maximum(spread, np.minimum(GRID_SHARE * _grid(wide), unit(base)))


def _evened(spread: Floats, scale: Floats) -> Floats:
    """The spread with all channels that rounding decides moved as far as the one that it moves most.

    A few variants measure what is random badly: a channel that happened to stand still would be held to that.
    """
    share = np.divide(spread, scale, out=np.zeros(spread.shape), where=scale > 0)
    decided = (share > DECIDED) & np.isfinite(share)
    return np.where(decided, share.max(where=decided, initial=0.0) * scale, spread)


def _grid(array: Wide) -> Floats:
    """The step of which all numbers of a channel are multiples, by entry; of both axes that may be channels the larger.

    What was computed beside larger numbers lies on their grid: a logistic function whose last step adds 0.5 gives
    multiples of 2^-25 however small they are, where float32 could be a thousand times finer. Zero where all are zero.
    """
    mantissa, exponent = np.frexp(np.where(np.isfinite(array), array, 0.0))
    digits = (mantissa * 2.0**53).astype(np.int64)
    # The lowest bit that is set. Zero is a multiple of everything, and has no say.
    steps = np.where(digits, np.ldexp((digits & -digits).astype(np.float64), exponent - 53), np.inf)
    found = [
        steps.min(axis=tuple(a for a in range(array.ndim) if a != axis), keepdims=True)
        for axis in ({1, array.ndim - 1} if array.ndim > 1 else {-1})
    ]
    return np.broadcast_to(reduce(np.maximum, [np.where(np.isfinite(step), step, 0.0) for step in found]), array.shape)


def share_of_scale(noise: Array, base: Array) -> float:
    """How much of the magnitude of a channel noise is, for the entry in the middle; 0 of what holds no real numbers."""
    if not is_real(base) or not base.size:
        return 0.0
    scale = _scales(_widened(base), by_channel=True)
    spread = np.broadcast_to(noise, base.shape).astype(np.float64)
    counts = (scale > 0) & np.isfinite(spread)  # where it is infinite nothing is compared, which is told elsewhere
    return float(np.median(spread[counts] / scale[counts])) if counts.any() else 0.0


def squares(one: Array, two: Array) -> tuple[float, float]:
    """‖two - one‖² and ‖one‖²; of what is no number the positions that differ, and all.

    Infinite where shapes differ, or NaNs and infinities; the same ones in both do not count.
    """
    if one.shape != two.shape:
        return np.inf, 1.0
    if not has_rounding(one):
        return float((one != two).sum()), float(one.size)
    a, b = _widened(one), _widened(two)
    odd = ~np.isfinite(a)
    if not np.array_equal(odd, ~np.isfinite(b)) or not _same(a[odd], b[odd]):
        return np.inf, 1.0
    a, b = a[~odd], b[~odd]
    return float(np.vdot(b - a, b - a).real), float(np.vdot(a, a).real)


def relative(moved: float, whole: float) -> float:
    """The root of two sums of squares' quotient: a norm as a share of another; infinite over nothing."""
    if not moved:
        return 0.0
    return float(np.sqrt(moved / whole)) if whole else np.inf


def _scales(array: Wide, *, by_channel: bool) -> Floats:
    """What an error counts against, by entry: the largest finite magnitude of the array, or of its channel."""
    magnitude = np.where(np.isfinite(array), np.abs(array), 0.0)
    if by_channel and magnitude.size:
        return _by_channel(magnitude)
    return np.full(array.shape, magnitude.max(initial=0.0))


def _by_channel(magnitude: Floats) -> Floats:
    """Largest entry of each channel, spread over its entries; channels lie along axis 1 or along the last one.

    Which of the two an output means cannot be told from the file, so the smaller number counts.
    """
    if magnitude.ndim < 2:
        return np.full(magnitude.shape, magnitude.max(initial=0.0))
    parts = []
    # A set, as both are one axis in [n, channels].
    for axis in {1, magnitude.ndim - 1}:
        others = tuple(a for a in range(magnitude.ndim) if a != axis)
        parts.append(np.broadcast_to(magnitude.max(axis=others, keepdims=True), magnitude.shape))
    found: Floats = np.minimum(*parts) if len(parts) == 2 else parts[0]
    return found


def _roundings(scale: Floats, unit: float) -> Floats:
    """Some roundings of the largest entry, for channels that are not so small that they matter there."""
    whole = scale.max(initial=0.0)
    # A small channel could be wrong altogether within roundings of a large one.
    return np.where(scale >= SMALL * whole, unit * whole, 0.0)


def unit(array: Array) -> float:
    """The distance from 1 to the next number of the array's type."""
    return _UNITS[array.dtype.name]


def at_most(value: float, limit: float) -> bool:
    """Is a measured number within a limit? What equals it is, though differences of decimal fractions are not exact."""
    return value <= limit + 1e-12


def same_bits(one: Array, two: Array) -> bool:
    """Are two arrays equal to the bit? Tells zeros of either sign apart, and takes a NaN for equal to itself."""
    if one.dtype != two.dtype or one.shape != two.shape:
        return False
    if one.dtype.kind == "O":
        return bool((one == two).all())
    return np.array_equal(_as_bytes(one), _as_bytes(two))


def _as_bytes(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _same(one: Array, two: Array) -> bool:
    return np.array_equal(one, two, equal_nan=True)


def _of_symbols(expected: Array, found: Array, noise: Array | None) -> ArrayDistance:
    """What no rounding moves a little: entries are equal, or they are not."""
    limit = INTEGER_SHARE if noise is None else max(INTEGER_SHARE, float(noise.max(initial=0.0)))
    if expected.shape != found.shape:
        return _infinite(limit)
    share = float(np.mean(np.asarray(expected != found, bool))) if expected.size else 0.0
    return ArrayDistance(share, share, share, share, None, None, 0, limit, int(expected.size), passed=share <= limit)


def _infinite(tolerance: float) -> ArrayDistance:
    return ArrayDistance(np.inf, np.inf, np.inf, np.inf, None, None, 0, tolerance, 0, passed=False)


def _agreement(one: Wide, two: Wide) -> tuple[int | None, int]:
    """Rows of [n, classes] with the same largest entry, and all rows."""
    # Complex numbers have no order, so none of a row is the largest.
    if one.ndim != 2 or one.shape[1] < 2 or not one.size or np.iscomplexobj(one):
        return None, 0
    return int((one.argmax(axis=1) == two.argmax(axis=1)).sum()), len(one)
