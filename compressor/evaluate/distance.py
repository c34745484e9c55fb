"""How far the arrays of one model are from those of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compressor.graph.evaluate import Array
from compressor.pruning.proof import COARSEST, INTEGER_SHARE

_REAL = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Distance:
    """The difference of two arrays.

    Attributes:
        max_abs, mean_abs: of the finite entries; infinite where shapes, NaNs or infinities differ. Of integers,
            truth values and texts the share of entries that differ.
        max_rel: ``max_abs`` as a share of the largest magnitude in the first array.
        cosine: of the two as vectors; None for what has no length or is no number.
        agree: rows whose largest entry is at the same place, for arrays [n, classes]; None for others.
        rows: all rows, where ``agree`` is a number.
        tolerance: relative error allowed: no smaller than the coarser of the two types resolves.
        compared: entries that count.
        passed: within tolerance.
    """

    max_abs: float
    mean_abs: float
    max_rel: float
    cosine: float | None
    agree: int | None
    rows: int
    tolerance: float
    compared: int
    passed: bool


def distance(expected: Array, found: Array, rtol: float, atol: float) -> Distance:
    """Compares ``found`` with ``expected``; equal infinities and NaNs do not count."""
    if expected.dtype.name not in _REAL or found.dtype.name not in _REAL:
        return _of_symbols(expected, found)
    rtol = max(rtol, *(COARSEST.get(array.dtype.name, 0.0) for array in (expected, found)))
    if expected.shape != found.shape:
        return _infinite(rtol)
    one, two = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(two)) or not np.array_equal(one[~finite], two[~finite], equal_nan=True):
        return _infinite(rtol)
    agree, rows = _agreement(one, two)
    one, two = one[finite], two[finite]
    if not one.size:
        return Distance(0.0, 0.0, 0.0, None, agree, rows, rtol, 0, True)
    gap = np.abs(one - two)
    largest, scale = float(gap.max()), float(np.abs(one).max())
    norms = float(np.linalg.norm(one)) * float(np.linalg.norm(two))
    limit = rtol * scale + max(atol, float(np.finfo(np.float32).tiny))
    return Distance(
        max_abs=largest,
        mean_abs=float(gap.mean()),
        max_rel=largest / scale if scale else largest,
        cosine=float(one @ two) / norms if norms else None,
        agree=agree,
        rows=rows,
        tolerance=rtol,
        compared=int(one.size),
        passed=largest <= limit,
    )


def _of_symbols(expected: Array, found: Array) -> Distance:
    if expected.shape != found.shape:
        return _infinite(INTEGER_SHARE)
    share = float(np.mean(np.asarray(expected != found, bool))) if expected.size else 0.0
    passed = share <= INTEGER_SHARE
    return Distance(share, share, share, None, None, 0, INTEGER_SHARE, int(expected.size), passed)


def _infinite(tolerance: float) -> Distance:
    return Distance(np.inf, np.inf, np.inf, None, None, 0, tolerance, 0, False)


def _agreement(one: Array, two: Array) -> tuple[int | None, int]:
    """Rows of [n, classes] with the same largest entry, and all rows."""
    if one.ndim != 2 or one.shape[1] < 2 or not one.size:
        return None, 0
    return int((one.argmax(axis=1) == two.argmax(axis=1)).sum()), len(one)
