"""Loss curves of all groups from one reading of the samples.

The first half of the samples gives covariances, by which units are removed and weights adjusted
(:mod:`compressor.allocation.removal`); the second half says what that loses (:mod:`compressor.allocation.judge`).
Groups that something other than a linear layer reads have no such curve. Their units go in the order of their scores,
and what they lose is the sum of these, brought to the scale of the other groups (:func:`_borrowed`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.allocation.judge import ExactLosses, Halves, Held, Probe, Probed, factors, marks
from compressor.allocation.layer_samples import Floats32, Rows
from compressor.allocation.removal import Reader, way_down
from compressor.allocation.views import LinearView
from compressor.channels.groups import ChannelGroup
from compressor.pruning.budgets.curves import Curves, GroupScores, LossCurve
from compressor.pruning.criteria import Scores
from compressor.pruning.criteria.base import weakest_first

LOOKS = 16
"""Widths of a group at which its loss is judged, at most; between them it is interpolated."""


@dataclass(frozen=True)
class LossEvidence:
    """What samples told of a graph.

    Attributes:
        views: the linear layers that read units.
        rows: of each of them, in the same order.
        covered: names of the groups that only they read.
        exact: takes losses exactly; None where there are no gradients.
        own_order: units go as removal finds cheapest; otherwise as their scores say.
        tell: called with a sentence for each group.
    """

    views: Sequence[LinearView]
    rows: Sequence[Rows]
    covered: set[str]
    exact: ExactLosses | None = None
    own_order: bool = True
    tell: Callable[[str], None] = lambda _: None


def loss_curves(ranked: GroupScores, found: LossEvidence, seed: int) -> Curves:
    """The loss curve of every group.

    Args:
        ranked: the groups; units with an infinite score stay.
        found: rows of the layers that read them.
        seed: of the directions that are drawn.
    """
    measured: dict[str, LossCurve] = {}
    probes: list[list[Probed]] = []
    for number, (group, scores) in enumerate(ranked.items(), 1):
        found.tell(f"losses: group {number} of {len(ranked)}")
        # A group that something else reads too has losses that these layers do not show.
        if group.name in found.covered:
            descent = _GroupCurve(group, scores, found, seed)
            measured[group.name] = descent.curve()
            probes.append(descent.probes)
    if found.exact is not None and any(probes):
        found.tell("losses: the outputs")
        scales = zip(measured.items(), factors(probes, found.exact), strict=True)
        measured = {name: LossCurve(curve.order, curve.losses * factor) for (name, curve), factor in scales}
    # For all groups, as those with a measured curve say what a score is worth.
    lent = {group.name: _by_scores(group, scores) for group, scores in ranked.items()}
    factor = _borrowed(measured, lent)
    return {name: measured.get(name, LossCurve(curve.order, curve.losses * factor)) for name, curve in lent.items()}


class _GroupCurve:
    """One group from all its channels to none: judged at some widths, and its changes kept at a few."""

    def __init__(self, group: ChannelGroup, scores: Scores, found: LossEvidence, seed: int) -> None:
        self._group, self._scores, self._found = group, scores, found
        self._free = group.units[np.isfinite(scores)]
        places = [
            (place, int(index))
            for place, view in enumerate(found.views)
            # A grouped convolution is several matrices, of which a group of channels may touch few.
            for index in np.flatnonzero(np.isin(view.units, group.units).any(axis=1))
        ]
        self._parts = [_Part.of(found, place, index, seed) for place, index in places]
        # Nothing gone, nothing lost: the curve has to begin at 0.
        self._known: dict[int, float] = {0: 0.0}
        ends = np.linspace(0, len(self._free), min(LOOKS, len(self._free)) + 1).round().astype(int)
        self._ends = sorted(set(ends.tolist()) - {0})
        self._marks = sorted(marks(len(self._free)))
        self.probes: list[Probed] = []

    def curve(self) -> LossCurve:
        """What the group loses at each of its widths."""
        group, free = self._group, self._free
        order = None if self._found.own_order else group.units[weakest_first(group.units, self._scores)][: len(free)]
        # One unit has to be left, unless some stay in any case because their score is infinite.
        last = max(0, 1 - (len(group.units) - len(free)))
        gone = way_down([part.reader for part in self._parts], free, last, self._look, order)
        # The last step need not be one at which the curve was looked at, and interpolation must not end before it.
        self._known.setdefault(len(gone), max(self._known.values()))
        steps = sorted(self._known)
        values = np.interp(np.arange(len(gone) + 1), steps, [self._known[k] for k in steps])
        # Held-out losses are noisy and may fall; a knapsack would then take units for nothing.
        return LossCurve(gone, np.maximum.accumulate(values))

    def _look(self, gone: int) -> None:
        passed = max(self._known)
        # Several units go in a step, so a mark is met by the first step that passes it.
        marked = [mark for mark in self._marks if passed < mark <= gone]
        if not marked and not any(passed < end <= gone for end in self._ends):
            return
        changes = [part.reader.change for part in self._parts]
        self._known[gone] = sum(p.held.loss(change) for p, change in zip(self._parts, changes, strict=True))
        if marked:
            self._marks = [mark for mark in self._marks if mark > gone]
            kept = [p.probe(change) for p, change in zip(self._parts, changes, strict=True)]
            self.probes.append((self._known[gone], kept))


@dataclass(frozen=True)
class _Part:
    """A matrix that reads a group: cut by the first half of the samples, judged by the second."""

    reader: Reader
    held: Held
    mean: Floats32
    place: tuple[int, int]

    @staticmethod
    def of(found: LossEvidence, place: int, index: int, seed: int) -> _Part:
        view = found.views[place]
        matrix = view.matrix[index]
        halves = Halves.of(found.rows[place], index, matrix, seed)
        reader = Reader(matrix, halves.held.metric, halves.fit, view.units[index])
        return _Part(reader, halves.held, halves.mean, (place, index))

    def probe(self, change: npt.NDArray[np.floating]) -> Probe:
        """A change to be judged exactly."""
        return Probe(*self.place, change.astype(np.float32), self.mean)


def _by_scores(group: ChannelGroup, scores: Scores) -> LossCurve:
    """The sum of the scores that are gone, in their order."""
    order = weakest_first(group.units, scores)[: int(np.isfinite(scores).sum())]
    mean = float(scores[np.isfinite(scores)].mean()) if len(order) else 1.0
    # Scores of a criterion may be negative; a curve may not fall.
    sums = np.cumsum(np.maximum(scores[order], 0.0)) / (mean or 1.0) / max(len(group.units), 1)
    return LossCurve(group.units[order], np.concatenate([[0.0], sums]))


def _borrowed(measured: Curves, lent: Curves) -> float:
    """Loss that a score is worth: the median over the groups that have both, where half of their units are gone."""
    ratios = []
    for name, curve in measured.items():
        # At the middle of the curve, as both ends depend on few units.
        place = len(curve.order) // 2
        if place and lent[name].losses[place] > 0:
            ratios.append(curve.losses[place] / lent[name].losses[place])
    # The median, since the scale of scores of one odd group may be far off.
    return float(np.median(ratios)) if ratios else 1.0
