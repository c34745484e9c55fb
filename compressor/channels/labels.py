"""Units, terms and layouts: which positions of a tensor live and die together.

A *unit* is the smallest thing that is kept or removed, an integer. Units are merged by union-find; unit 0 is
frozen, so to freeze is to merge with 0. A *term* says which unit each position of a tensor belongs to along some
of its axes; a *layout* is the terms of one tensor, over disjoint axes. A position is removed iff one of its
terms' units is. A term over several axes is *joint*: its last axis is ragged, that is, what is kept there may
differ from row to row, and every row must keep the same count.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

UnitArray = npt.NDArray[np.int64]
Axis = TypeVar("Axis", bound=Hashable)
Role = Literal["out", "in", "affine"]
"""What an axis of a weight does: it holds filters, is contracted, or follows an activation (bias, scale, table)."""

FROZEN = 0


class Unexplained(Exception):  # noqa: N818 - control flow: the node's rule gives up, the engine freezes
    """A rule meets a form of its operator that it has no signature for; the reason is for the user."""


@dataclass(frozen=True)
class Reason:
    """Why something was frozen: the value and axis seen, at which node, in one sentence.

    Attributes:
        value, axis, node, reason: that.
        unmatched: an operand labels nothing there, which may itself come of something that was frozen.
    """

    value: str
    axis: str
    node: str
    reason: str
    unmatched: bool = False


@dataclass(frozen=True)
class Freeze:
    """One freezing: its reason and how many units it stopped."""

    reason: Reason
    units: int


@dataclass(frozen=True)
class Term(Generic[Axis]):
    """Units along some axes of a tensor.

    Attributes:
        axes: the axes, in the order of ``units``' dimensions; axis numbers of a value or names of a signature.
        units: int64, one dimension for each axis.
    """

    axes: tuple[Axis, ...]
    units: UnitArray

    def rows(self) -> UnitArray:
        """The term as a matrix: every row must keep the same count of its columns (the last axis)."""
        return self.units.reshape(-1, self.units.shape[-1])


Layout = list[Term[int]]
"""The terms of one tensor, over disjoint axes."""


@dataclass
class DeferredLabels:
    """A tensor that takes on the labels of whoever uses it first: an initializer, or an expanded axis.

    Attributes:
        terms: what it took on so far.
        open: axes that nobody has spoken for yet.
        roles: axis -> what it does.
        broadcast: it holds no data of its own along the open axes (Expand), so only its size must follow.
        shape: of an initializer, before anything is cut.
    """

    terms: Layout = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    roles: dict[int, Role] = field(default_factory=dict)
    broadcast: bool = False
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Balance:
    """Every row of a joint term must keep the same count; asked for by ``node``."""

    term: Term[Any]
    node: str


class Units:
    """Union-find over units, vectorised, with path halving; monotone: what was merged stays merged.

    A set that is frozen keeps a root of its own, which answers for it as unit 0: so a root knows why its set is frozen,
    and freezing costs what the roots are and not what all units are.

    ``version`` grows with every merge, so that a caller sees when nothing changes any more. ``merging`` holds units by
    which others were merged, that lie along more axes than they do.
    """

    def __init__(self) -> None:
        self._count = 1
        # Parents lead to a root, which is its own. `_shown` is what a root answers for: itself, or 0 once its set is
        # frozen. `_cause` is the number of that freezing, -1 before.
        self._parent = np.zeros(1, np.int64)
        self._shown = np.zeros(1, np.int64)
        self._cause = np.full(1, -1, np.int64)
        self.freezes: list[Freeze] = []
        self.merging: list[UnitArray] = []
        self.version = 0
        self._unpaired: UnitArray | None = None
        self._shortened: tuple[int, dict[int, tuple[object, Term[Any] | None]]] = 0, {}

    def __len__(self) -> int:
        return self._count

    def fresh(self, count: int) -> UnitArray:
        """``count`` new units."""
        new = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        room = self._count - len(self._parent)
        if room > 0:  # twice as many as before at least, so that a unit is copied a constant number of times
            more = np.arange(len(self._parent), len(self._parent) + max(room, len(self._parent)), dtype=np.int64)
            self._parent = np.concatenate([self._parent, more])
            self._shown = np.concatenate([self._shown, more])
            self._cause = np.concatenate([self._cause, np.full(len(more), -1, np.int64)])
        return new

    def find(self, units: UnitArray) -> UnitArray:
        """The representative of each unit; int64 of the same shape."""
        return self._shown[self._root(units)]

    def _root(self, units: UnitArray) -> UnitArray:
        # All units climb at once and are hung on their grandparents on the way, so that the next search is short.
        parent, below = self._parent, units
        while True:
            roots = parent[below]
            above = parent[roots]
            if not (above != roots).any():
                break
            parent[below] = above
            below = above
        # `below` stands for the units asked for, higher up; they are hung on their roots as well.
        if below is not units:
            parent[units] = roots
        return roots

    def pairing_begins(self) -> None:
        """From here on, merges follow from scores and no longer from the graph alone; only the first call counts."""
        if self._unpaired is None:
            self._unpaired = self.find(np.arange(self._count))

    @property
    def paired(self) -> bool:
        """Did anything merge by scores?"""
        return self._unpaired is not None and not np.array_equal(self._unpaired, self.find(np.arange(self._count)))

    def find_unpaired(self, units: UnitArray) -> UnitArray:
        """The representative of each unit by what follows from the graph alone; int64 of the same shape."""
        return self.find(units) if self._unpaired is None else self._unpaired[units]

    def union(self, one: UnitArray, two: UnitArray, reason: Reason) -> bool:
        """Merges ``one`` and ``two`` elementwise (broadcast); returns whether anything changed."""
        one, two = np.broadcast_arrays(one, two)
        changed = False
        # Where several pairs share the higher root, only the lowest partner wins it; the others merge in the next
        # round.
        while True:
            a, b = self.find(one.ravel()), self.find(two.ravel())
            differ = a != b
            if not differ.any():
                break
            # The smaller unit becomes the root: parents are always smaller, so that there are no cycles, and the result
            # does not depend on the order of merging.
            low, high = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
            stopped = low == FROZEN
            np.minimum.at(self._parent, high[~stopped], low[~stopped])
            # A frozen set keeps its own root, which remembers its reason; hung on unit 0 it would lose that.
            if stopped.any():
                self._stop(np.unique(high[stopped]), reason)
            changed = True
        self.version += changed
        return changed

    def freeze(self, units: UnitArray, reason: Reason) -> bool:
        """Merges with the frozen unit; the first reason given for a unit is the one remembered."""
        return self.union(units, np.asarray(FROZEN, np.int64), reason)

    def merge_along(self, units: UnitArray, axes: Iterable[int], reason: Reason, by: UnitArray | None = None) -> bool:
        """Merges units that differ only in their position along ``axes``; others that ask for it are noted."""
        index = tuple(slice(0, 1) if d in set(axes) else slice(None) for d in range(units.ndim))
        merged = self.union(units, units[index], reason)
        if merged and by is not None:
            self.merging.append(by)
        return merged

    def cause(self, units: UnitArray) -> list[tuple[Freeze, int]]:
        """The freezings behind ``units`` and how many of them each explains, most first."""
        ids, counts = np.unique(self._cause[self._root(units.ravel())], return_counts=True)
        found = [(self.freezes[i], int(n)) for i, n in zip(ids.tolist(), counts.tolist(), strict=True) if i >= 0]
        return sorted(found, key=lambda pair: -pair[1])

    def stopped_at(self, units: UnitArray) -> int | None:
        """The number of the first freezing among those behind ``units``; None where some are free."""
        causes = self._cause[self._root(units.ravel())]
        return None if not causes.size or (causes < 0).any() else int(causes.min())

    def _stop(self, roots: UnitArray, reason: Reason) -> None:
        self._shown[roots] = FROZEN
        self._cause[roots] = len(self.freezes)
        self.freezes.append(Freeze(reason, len(roots)))

    def canonical(self, term: Term[Axis]) -> Term[Axis] | None:
        """``term`` by representatives, without the axes it does not vary along; None if all of it is frozen.

        A term that varies along no axis is one unit that fills a whole axis. To remove it would empty the
        tensor, so callers freeze it: it is returned with no axes.

        The same term is asked for again and again, by every value that shares it: what it came to is remembered until
        something merges.
        """
        version, known = self._shortened
        if version != self.version:
            known = {}
            self._shortened = self.version, known
        if id(term) not in known:
            known[id(term)] = term, self._canonical(term)  # holding the term keeps its number from being used again
        return known[id(term)][1]

    def _canonical(self, term: Term[Axis]) -> Term[Axis] | None:
        units = self.find(term.units)
        # Frozen is 0, so nothing is left to remove where no unit is above it.
        if not units.any():
            return None
        axes = list(term.axes)
        # From the last axis on, so that the places of those still to come stay right.
        for position in range(units.ndim - 1, -1, -1):
            first = units[(slice(None),) * position + (slice(0, 1),)]
            if (units == first).all():
                units = first.reshape(units.shape[:position] + units.shape[position + 1 :])
                del axes[position]
        return Term(tuple(axes), units)


def ordered(units: Units, term: Term[Axis], order: Sequence[Axis], reason: Reason) -> Term[Axis]:
    """``term`` with its axes in the sequence of ``order``.

    A joint term keeps its entries row by row. Where the new order turns rows and columns, a ragged term would no
    longer describe the physical order, so it is first made uniform: merged along the axes that changed places,
    keeping the increasing run of axes that spans most positions.
    """
    wanted = tuple(a for a in order if a in term.axes)
    if wanted == term.axes:
        return term
    place = [term.axes.index(a) for a in wanted]
    keep = _longest_run(place, term.units.shape)
    drop = [p for p in place if p not in keep]
    if drop:
        units.merge_along(term.units, drop, reason)
    return Term(wanted, units.find(term.units).transpose(place))


def _longest_run(places: Sequence[int], sizes: Sequence[int]) -> set[int]:
    """Of ``places``, the increasing subsequence whose sizes have the largest product."""
    best: list[tuple[float, list[int]]] = []
    for place in places:
        before = max((b for b in best if b[1][-1] < place), key=lambda b: b[0], default=(0.0, []))
        # Logarithms add up where sizes multiply; the small addend lets the longer run win where sizes of 1 make a tie.
        best.append((before[0] + float(np.log(max(sizes[place], 1))) + 1e-9, [*before[1], place]))
    return set(max(best, key=lambda b: b[0])[1])
