"""Balance: every row of a joint term gives up the same number of its columns.

Where an axis is split into rows and columns (groups of a convolution, heads, directions of an LSTM), units of
different rows are paired by rank, weakest with weakest, and merged, so that each removal takes one from each row.
Rows that hold the same units are one row. Where units stand in several rows at once, or in rows of several such
splits (a query shared by two constraints, a shuffle between convolutions of unequal groups), they are merged so that
all of these splits stay level; see :mod:`compressor.channels.covers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.channels.coupling import Coupling
from compressor.channels.covers import Counts, covers
from compressor.channels.labels import FROZEN, Reason, Term, UnitArray


@dataclass(frozen=True)
class _Split:
    """Units in rows that keep equal counts, int64[rows, columns], and what asked for that."""

    rows: UnitArray
    origin: str


def balance(coupling: Coupling, scores: Callable[[], npt.NDArray[np.float64]]) -> bool:
    """Merges units until every joint term keeps equal rows; False where none asks for that.

    Runs the coupling again afterwards, because merging can turn joint terms into plain ones.

    Args:
        coupling: as run.
        scores: gives the rank of every unit (higher is kept), float64[units]; asked where something is to be merged.
    """
    splits = _splits(coupling)
    if not splits:
        return False
    score = scores()
    while True:
        coupling.units.pairing_begins()
        version = coupling.units.version
        for connected in _connected(splits, len(coupling.units)):
            _pair(coupling, connected, score)
        if coupling.units.version == version:
            return True
        coupling.run()
        splits = _splits(coupling)


def _splits(coupling: Coupling) -> list[_Split]:
    """Joint terms as matrices, most rows first, each once."""
    found: dict[bytes, _Split] = {}
    terms: list[tuple[Term[Any], str]] = [(b.term, b.node) for b in coupling.balances]
    terms += [(term, str(value.name)) for value, term in coupling.joint_terms()]
    for raw, origin in terms:
        short = coupling.units.canonical(raw)
        if short is not None and len(short.axes) > 1:
            # Counts do not depend on the order within a row, and rows that hold the same units ask the same.
            rows = np.unique(np.sort(short.rows(), axis=1), axis=0)
            if len(rows) > 1:
                found.setdefault(rows.tobytes() + repr(rows.shape).encode(), _Split(rows, origin))
    return sorted(found.values(), key=lambda split: -len(split.rows))


def _connected(splits: list[_Split], units: int) -> Iterator[list[_Split]]:
    """Splits that ask something of the same units, together."""
    owner = np.full(units, -1, np.int64)
    parts: dict[int, list[_Split]] = {}
    for number, split in enumerate(splits):
        own = np.setdiff1d(split.rows, [FROZEN])
        joined = [split]
        for part in np.setdiff1d(owner[own], [-1]).tolist():
            owner[owner == part] = number
            joined = parts.pop(part) + joined
        owner[own] = number
        parts[number] = joined
    yield from parts.values()


def _pair(coupling: Coupling, splits: list[_Split], score: npt.NDArray[np.float64]) -> None:
    patterns, members = _patterns(splits)
    if not members:
        return
    # Ties are broken by number, so that the same scores always pair the same units.
    weakest = [sorted(own, key=lambda x: (score[x], x)) for own in members]
    reason = Reason(splits[0].origin, "", "", "rows of a joint axis cannot lose equal counts")
    available = np.asarray([len(own) for own in weakest], np.int64)
    for each, times in covers(patterns, [len(s.rows) for s in splits], available):
        # As many of every pattern as a cover takes of it, for each time that the cover is there.
        chosen = [
            np.asarray(own[: n * times]).reshape(times, n).T for own, n in zip(weakest, each.tolist(), strict=True)
        ]
        together = np.concatenate([c for c in chosen if c.size])
        coupling.units.union(together, together[:1], reason)
        weakest = [own[n * times :] for own, n in zip(weakest, each.tolist(), strict=True)]
    for own in weakest:
        coupling.units.freeze(np.asarray(own, np.int64), reason)


def _patterns(splits: list[_Split]) -> tuple[Counts, list[list[int]]]:
    """How often units stand in each row of all ``splits``: patterns, int64[patterns, rows], and the units of each."""
    units = np.setdiff1d(np.concatenate([s.rows.ravel() for s in splits]), [FROZEN])
    counts = []
    for split in splits:
        row = np.broadcast_to(np.arange(len(split.rows))[:, None], split.rows.shape)
        free = split.rows != FROZEN
        own = np.zeros((len(units), len(split.rows)), np.int64)
        np.add.at(own, (np.searchsorted(units, split.rows[free]), row[free]), 1)
        counts.append(own)
    # A unit that stands equally often in every row takes the same count from each, and needs no partner.
    open_ = np.any([(own != own[:, :1]).any(axis=1) for own in counts], axis=0)
    units = units[open_]
    patterns, which = np.unique(np.concatenate(counts, axis=1)[open_], axis=0, return_inverse=True)
    return patterns, [units[which.ravel() == k].tolist() for k in range(len(patterns))]
