"""How much each of several things should give up, by what that was measured to cost: most gain for least loss.

Each item (a group of channels, a layer) has options, each with a gain and a loss, of which one is taken. Where gains
and losses of different items add up, this is the multiple-choice knapsack problem; its relaxation is solved by the
lower convex hull of each item's options: taking the segments of all hulls by rising loss per gain gives a line of
selections, and no other selection gains as much as one of these and loses less (Sinha and Zoltners, Operations Research
27, 1979). A budget says where in the line to stop.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.config import PruneSettings
from compressor.config.target import TargetSection
from compressor.errors import UsageError
from compressor.pruning.budgets.budget import Origin
from compressor.pruning.criteria import Scores
from compressor.pruning.criteria.base import weakest_first

if TYPE_CHECKING:
    from compressor.results.sensitivity import GroupSensitivity, Point, SensitivityReport

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Alternative:
    """What an item may take instead of nothing, which gains and loses 0.

    Attributes:
        gain: what it brings; options that bring nothing are never taken.
        loss: what it costs, at least 0; an infinite one is never paid.
    """

    gain: float
    loss: float


@dataclass(frozen=True)
class Move(Generic[K]):
    """An item goes over to another of its options.

    Attributes:
        item: which.
        option: index of the new option.
        slope: what this loses more than the option before, for each unit that it gains more.
    """

    item: K
    option: int
    slope: float


def frontier(options: Sequence[Alternative]) -> list[int]:
    """The options on the lower convex hull of (gain, loss) from (0, 0) on, by rising gain; loss per gain rises too."""
    usable = [k for k, o in enumerate(options) if o.gain > 0 and isfinite(o.loss)]
    hull: list[int] = []
    # Of options of equal gain the dearest comes first, so that the cheaper one removes it from the hull.
    for index in sorted(usable, key=lambda k: (options[k].gain, -options[k].loss)):
        # The last point lies on or above the segment to the new one, so it is not on the lower hull. ">=" drops equal
        # gains too, before a segment of no gain could be divided by.
        while hull and _slope(options, hull, len(hull) - 1) >= _slope(options, [*hull[:-1], index], len(hull) - 1):
            hull.pop()
        hull.append(index)
    return hull


def _slope(options: Sequence[Alternative], hull: Sequence[int], place: int) -> float:
    """Loss per gain of the segment that ends at ``hull[place]``."""
    before = options[hull[place - 1]] if place else Alternative(0.0, 0.0)
    after = options[hull[place]]
    return (after.loss - before.loss) / (after.gain - before.gain)


def line_of(items: Mapping[K, Sequence[Alternative]]) -> list[Move[K]]:
    """All moves, least loss per gain first: after each of them the selection is the best for what it gains."""
    moves = []
    for item, options in items.items():
        hull = frontier(options)
        # Slopes rise along a hull, so sorting all moves by slope keeps those of one item in order.
        moves += [Move(item, index, _slope(options, hull, place)) for place, index in enumerate(hull)]
    return sorted(moves, key=lambda move: move.slope)


def final_options(moves: Sequence[Move[K]]) -> dict[K, int]:
    """The option of each item after these moves; items without a move are left out."""
    # A later move of an item replaces the earlier one: options are alternatives, not increments.
    return {move.item: move.option for move in moves}


# ---- channels -----------------------------------------------------------------------------------------------


def scores_by_loss(
    scores: Mapping[ChannelGroup, Scores], settings: PruneSettings, origin: Origin, report: SensitivityReport
) -> tuple[dict[ChannelGroup, Scores], PruneSettings]:
    """Scores with which a global ranking removes what was measured to cost least for what it saves.

    A unit's score is the loss per gain of the segment of its group's hull in which it goes; within a group the order
    stays what the criterion says. The loss is the squared distance of the outputs, as that of independent changes adds
    up; the gain is what the amount counts: channels for a ratio, parameters for those and for bytes, else MACs. For a
    latency it is units, as what is gained there is measured, and scores of units are what is lost.

    Args:
        scores: by the criterion; infinite ones stay so.
        settings: the amount.
        origin: what the groups had at first.
        report: measured on the original model; units beyond its last ratio stay, and so do groups that it lacks.

    Returns:
        The scores, and the settings to rank them with.

    Raises:
        UsageError: the report has none of the groups, or one with another number of channels.
    """
    curves = {group.name: group for group in report.groups}
    # A report of another model would leave every score infinite, and the message about that would not name the cause.
    if not any(member.name in curves for member in scores):
        raise UsageError("the sensitivity report has none of the model's groups; it was measured on another model")
    weighed = {member: _weighed(member, score, settings, origin, curves) for member, score in scores.items()}
    return weighed, settings.model_copy(update={"scope": "global", "normalise": "none"})


def _weighed(
    member: ChannelGroup,
    score: Scores,
    settings: PruneSettings,
    origin: Origin,
    curves: Mapping[str, GroupSensitivity],
) -> Scores:
    losses = np.full(len(score), inf)
    curve = curves.get(member.name)
    if curve is None:
        return losses
    # The report was measured on the original, so a later step looks up its channels by their place in the original
    # group.
    count = origin.units.get(member.name, len(member.units))
    if curve.channels != count * member.counts:
        raise UsageError(
            f"group {member.name!r} has {count * member.counts} channels, and {curve.channels} in the sensitivity "
            "report; it was measured on another model"
        )
    shares, slopes = _segments(curve, settings, member.counts)
    # A unit's place is the middle of its share of the group, so that no place falls on the end of a segment.
    places = (count - len(member.units) + np.arange(len(score)) + 0.5) / count
    segment = np.searchsorted(shares, places)
    rising = np.append(slopes, inf)[segment]
    # Far too small to reorder segments of different slope.
    steps = np.arange(len(score)) * np.finfo(np.float64).eps * (1.0 + max(slopes, default=0.0))
    losses[weakest_first(member.units, score)] = rising + steps  # so that units of one segment keep their order
    # Units that have to stay were ranked last and given a slope like the others.
    losses[np.isinf(score)] = inf
    return losses


def _segments(curve: GroupSensitivity, settings: PruneSettings, width: int) -> tuple[list[float], list[float]]:
    """Of each segment of the hull: the share of channels at which it ends, and its loss per gain."""
    options = [Alternative(_gain(point, settings, width), point.distance**2) for point in curve.points]
    hull = frontier(options)
    return (
        [curve.points[index].removed / curve.channels for index in hull],
        [_slope(options, hull, place) for place in range(len(hull))],
    )


def _gain(point: Point, settings: TargetSection, width: int) -> float:
    # Milliseconds are not in the report; the search over measured times ranks by loss alone.
    if settings.target_latency is not None:
        return point.removed / width
    if settings.ratio is not None:
        return float(point.removed)
    sized = settings.target_params is not None or settings.target_size is not None
    return 1.0 - (point.params if sized else point.macs)
