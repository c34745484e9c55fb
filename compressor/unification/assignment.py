"""Which blocks are pruned, which unified, which left free: the choice that does least damage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PRUNED, UNIFIED, FREE = 0, 1, 2
"""Kinds of a block: all zero, one absolute value, untouched."""
Kinds = npt.NDArray[np.uint8]
Damage = npt.NDArray[np.floating]

_HALVINGS = 200
"""Halvings of the price, at most: prices of float64 meet before; where damages tie, none gives the exact count."""
_TIE = 1e-13
"""Relative size of what tells equal damages apart: below all that matters, above rounding."""


def whole(share: float, total: int) -> int:
    """A share of the blocks as a count, rounded down but for rounding errors: 0.3 of 10 is 3."""
    return min(total, int(share * total + 1e-9))


def assign_kinds(pruned_damage: Damage, unified_damage: Damage, prune: int, unify: int) -> Kinds:
    """The kinds with exactly ``prune`` and ``unify`` blocks whose summed damage is least.

    An assignment problem with two prices. With μ added to the damage of pruning, blocks are pruned or unified by
    what is cheaper and the cheapest ``prune + unify`` are taken: least damage for the count of pruned blocks that
    comes out, which falls as μ grows. The μ with the right count is found by bisection; ties are told apart by a
    tiny amount, so that counts change one by one.

    Args:
        pruned_damage: D_p, ``[B]``, squared distance of each block to zero.
        unified_damage: D_u, ``[B]``, squared distance to its unified form, at most D_p.
        prune: how many blocks become zero.
        unify: how many get one absolute value; with ``prune`` at most B.
    """
    one, two = (np.asarray(d, np.float64) for d in (pruned_damage, unified_damage))
    # As a share of the largest damage, so that the scale of the weights does not matter.
    one = one + _TIE * float(one.max(initial=0.0)) * _scattered(len(one))
    # At this price nothing is pruned, and at its negative everything that is taken.
    high = 1.01 * max(float(one.max(initial=0.0)), float(two.max(initial=0.0)))
    low = -high
    # With one kind alone there is nothing to search for, and an infinite price says which it is.
    if prune == 0 or unify == 0:
        low = high = -np.inf if unify == 0 else np.inf
    best = _priced(one, two, low if unify == 0 else high, prune + unify)
    for _ in range(_HALVINGS):
        pruned = int((best == PRUNED).sum())
        if pruned == prune or low >= high:
            break
        middle = (low + high) / 2
        best = _priced(one, two, middle, prune + unify)
        if int((best == PRUNED).sum()) > prune:
            low = middle
        else:
            high = middle
    return _correct_count(best, one, two, prune)


def _scattered(count: int) -> npt.NDArray[np.float64]:
    """Distinct numbers in [0, 1) without order: multiples of the golden ratio, modulo one."""
    return np.asarray(np.arange(count) * 0.6180339887498949 % 1.0, np.float64)


def _priced(one: Damage, two: Damage, price: float, count: int) -> Kinds:
    """The ``count`` blocks that are cheapest when pruning costs ``price`` more."""
    kinds = np.full(len(one), FREE, np.uint8)
    prunes = one + price < two
    # An infinite price must not be added: it would make all costs equal, and the choice arbitrary.
    cost = np.where(prunes, one + price, two) if np.isfinite(price) else (one if price < 0 else two)
    # argpartition wants an index inside of the array, so all and none are taken by slicing.
    taken = np.argpartition(cost, count - 1)[:count] if 0 < count < len(one) else np.arange(len(one))[:count]
    kinds[taken] = np.where(prunes[taken], PRUNED, UNIFIED)
    return kinds


def _correct_count(kinds: Kinds, one: Damage, two: Damage, prune: int) -> Kinds:
    """Corrects the count where damages tie even so: turns the blocks for which it costs least."""
    excess = int((kinds == PRUNED).sum()) - prune
    source, target = (PRUNED, UNIFIED) if excess > 0 else (UNIFIED, PRUNED)
    where = np.flatnonzero(kinds == source)
    extra = (two - one if excess > 0 else one - two)[where]
    # Stable, so that equal blocks are turned in the same order everywhere.
    kinds[where[np.argsort(extra, kind="stable")[: abs(excess)]]] = target
    return kinds
