"""Balance: every row of a joint term gives up the same number of its columns.

Where an axis is split into rows and columns (groups of a convolution, heads, directions of an LSTM), units of
different rows are paired by rank, weakest with weakest, and merged, so that each removal takes one from each row.
Rows that hold the same units are one row. Where units stand in several rows at once (a query shared by two
constraints), patterns of counts are combined into exact covers of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.channels.coupling import Coupling
from compressor.channels.labels import FROZEN, Reason, Term, UnitArray

Pattern = tuple[int, ...]
COVER_STEPS = 20_000
"""Steps of the search for an exact cover; beyond it the units in question are frozen."""

COVER_ROWS = 256
"""Rows of the largest constraint whose covers are searched."""


def balance(coupling: Coupling, score: npt.NDArray[np.float64]) -> Coupling:
    """Merges units until every joint term keeps equal rows; ``score[unit]`` ranks them (higher is kept).

    Runs the coupling again afterwards, because merging can turn joint terms into plain ones.
    """
    while True:
        coupling.units.pairing_begins()
        version = coupling.units.version
        for units, node in _constraints(coupling):
            _pair(coupling, units, score, node)
        if coupling.units.version == version:
            return coupling
        coupling.run()


def _constraints(coupling: Coupling) -> Iterator[tuple[UnitArray, str]]:
    """Joint terms as matrices, most rows first, each once."""
    found: dict[bytes, tuple[UnitArray, str]] = {}
    terms: list[tuple[Term[Any], str]] = [(b.term, b.node) for b in coupling.balances]
    terms += [(term, str(value.name)) for value, term in coupling.joint_terms()]
    for raw, origin in terms:
        short = coupling.units.canonical(raw)
        if short is not None and len(short.axes) > 1:
            # Counts do not depend on the order within a row, and rows that hold the same units ask the same.
            rows = np.unique(np.sort(short.rows(), axis=1), axis=0)
            found.setdefault(rows.tobytes() + repr(rows.shape).encode(), (rows, origin))
    # The finest split first: what it merges often settles the coarser ones, which share its axes.
    yield from sorted(found.values(), key=lambda pair: -len(pair[0]))


def _pair(coupling: Coupling, rows: UnitArray, score: npt.NDArray[np.float64], origin: str) -> None:
    rows = coupling.units.find(rows)
    patterns = _patterns(rows)
    # A unit that stands equally often in every row takes the same count from each, and needs no partner.
    constant = {p for p in patterns if len(set(p)) == 1}
    # Ties are broken by number, so that the same scores always pair the same units.
    open_patterns = {p: sorted(u, key=lambda x: (score[x], x)) for p, u in patterns.items() if p not in constant}
    reason = Reason(origin, "", "", "rows of a joint axis cannot lose equal counts")
    while open_patterns:
        cover = _exact_cover(list(open_patterns), len(rows))
        if cover is None:
            for units in open_patterns.values():
                coupling.units.freeze(np.asarray(units, np.int64), reason)
            return
        # Patterns of a cover lose units together, so they can be merged only as often as the rarest of them occurs.
        count = min(len(open_patterns[p]) for p in cover)
        chosen = np.asarray([open_patterns[p][:count] for p in cover], np.int64)
        coupling.units.union(chosen, chosen[:1], reason)
        open_patterns = {p: u[count:] if p in cover else u for p, u in open_patterns.items()}
        open_patterns = {p: u for p, u in open_patterns.items() if u}


def _patterns(rows: UnitArray) -> dict[Pattern, list[int]]:
    """Count of each unit in each row -> the units with these counts."""
    units, inverse = np.unique(rows, return_inverse=True)
    inverse = inverse.reshape(rows.shape)
    counts = np.zeros((len(units), len(rows)), np.int64)
    np.add.at(counts, (inverse, np.arange(len(rows))[:, None]), 1)
    found: dict[Pattern, list[int]] = {}
    for unit, pattern in zip(units.tolist(), counts.tolist(), strict=True):
        if unit != FROZEN:
            found.setdefault(tuple(pattern), []).append(unit)
    return found


def _exact_cover(patterns: Sequence[Pattern], rows: int) -> list[Pattern] | None:
    """Patterns whose counts add up to the same number in every row; None where there are none."""
    whole = np.sum(np.asarray(patterns, np.int64), axis=0)
    if (whole == whole[0]).all():
        return list(patterns)  # the usual case: every pattern is a row of its own
    if rows > COVER_ROWS:
        return None
    # The smallest sum first: the fewer units are merged, the finer the choice that is left.
    for total in sorted({max(p) for p in patterns}):
        usable = [np.asarray(p) for p in patterns if max(p) <= total]
        # The list of one is a counter that all levels of the search share.
        found = _search(usable, np.zeros(rows, np.int64), total, [0])
        if found is not None:
            return [tuple(int(c) for c in p) for p in found]
    return None


def _search(
    usable: Sequence[npt.NDArray[np.int64]], filled: npt.NDArray[np.int64], total: int, steps: list[int]
) -> list[npt.NDArray[np.int64]] | None:
    """Depth-first: fills the first row that is short with a pattern not used before it."""
    if (filled == total).all():
        return []
    steps[0] += 1
    if steps[0] > COVER_STEPS:
        return None
    # Any cover has to fill this row, so it is enough to try what stands in it.
    row = int(np.argmax(filled < total))
    for index, pattern in enumerate(usable):
        if pattern[row] and ((filled + pattern) <= total).all():
            # Each pattern once in a cover: the units merged in one step are distinct.
            rest = _search([*usable[:index], *usable[index + 1 :]], filled + pattern, total, steps)
            if rest is not None:
                return [pattern, *rest]
    return None
