"""How much goes, and from where: scores and a ratio or target become a choice of units.

Every group is cut into chunks, weakest units first, each as large as ``round_to`` asks. All chunks are lined up by
a key, and what is removed is a prefix of that line: a ratio says where to stop, a target is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, gcd, log10

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import UnitArray
from compressor.config import PruneSettings
from compressor.config.target import FINE, FINER_STEPS, NARROW, TargetSection
from compressor.core.formatting import percentage, quantity
from compressor.core.globs import any_match
from compressor.errors import NothingToPrune, TargetOutOfReach
from compressor.pruning.budgets.cost import CostModel
from compressor.pruning.budgets.lasting_names import LastingNames
from compressor.pruning.criteria import Scores
from compressor.pruning.criteria.base import weakest_first

TARGET_TOLERANCE = 0.02
"""A target counts as reached within this share of itself: of a hundredth that was asked for, a 50th of a hundredth."""

REFINEMENTS, TRIED, SWAPPED = 8, 32, 6
"""How often a choice is refined, the groups that are tried each time, and those of which one gives and one takes: what
takes time is counting the cost of each choice, of which a round has 2 * 32 + 6 * 6 at most."""


@dataclass(frozen=True)
class Chunk:
    """Units of one group that go together; ``key`` places it in the line, the group's weaker chunks before it."""

    group: str
    units: UnitArray
    key: float
    fixed: bool


Removed = dict[str, UnitArray]


@dataclass(frozen=True)
class Origin:
    """What ratios and targets are shares of: the model before the first step of a run.

    Attributes:
        units: how many each group had, by its name.
        macs: multiply-accumulates of one run.
        params: floating-point elements.
        size: bytes of the file.
        rest: those of them that are no weights.
        names: of the groups, in what later steps leave of the model.
        enough: to how many units each group may go for the target, as the step before found; empty before the first.
    """

    units: Mapping[str, int]
    macs: float
    params: float
    size: float
    rest: float
    names: LastingNames = field(default_factory=LastingNames)
    enough: Mapping[str, int] = field(default_factory=dict)


def line_up(ranked: Mapping[ChannelGroup, Scores], settings: PruneSettings, origin: Origin) -> list[Chunk]:
    """All chunks of all groups in the order in which they would go; units of infinite score stay."""
    chunks = [chunk for group, scores in ranked.items() for chunk in _chunks(group, scores, settings, origin)]
    return sorted(chunks, key=lambda c: c.key)


def _own_ratio(group: ChannelGroup, settings: TargetSection) -> float | None:
    """The ratio that the first matching glob sets for this group."""
    # The first match wins, so that a user can write exceptions before the rule.
    for glob, ratio in settings.layer_ratio:
        if any_match(group.names, (glob,)):
            return ratio
    return None


def _chunks(group: ChannelGroup, scores: Scores, settings: PruneSettings, origin: Origin) -> list[Chunk]:
    # Shares are of the original group, of which earlier steps already took ``gone`` units.
    count = origin.units.get(group.name, len(group.units))
    gone = count - len(group.units)
    order = weakest_first(group.units, scores)
    own = _own_ratio(group, settings)
    free = int(np.isfinite(scores).sum())
    scaled = _scaled(scores[np.isfinite(scores)], settings.normalise)
    # Prefix sums of the sorted scores give the mean score of any chunk by one subtraction.
    cumulative = np.concatenate([[0.0], np.cumsum(np.sort(scaled))])
    chunks: list[Chunk] = []
    start = 0
    # Stops that lie within what earlier steps took are passed already; those past ``free`` would take units that stay.
    for end in (stop - gone for stop in _stops(group, count, settings) if gone < stop <= gone + free):
        # A key of -1 comes before every free chunk and inf after all of them: a fixed share is never traded against
        # others.
        if own is not None:
            key = -1.0 if (gone + (start + end) / 2) / count <= own else np.inf
        # The middle of the chunk as a share of its group: "at least half within the ratio" is then one comparison.
        elif settings.scope != "global":
            key = (gone + (start + end) / 2) / count
        # The mean score, not the sum, so that a wide chunk is not dearer than a narrow one because it is wide.
        else:
            key = float(cumulative[end] - cumulative[start]) / (end - start)
        chunks.append(Chunk(group.name, group.units[order[start:end]], key, own is not None))
        start = end
    return chunks


def _scaled(scores: Scores, how: str) -> Scores:
    if not scores.size or how == "none":
        return scores
    # A group of zeros stays as it is: dividing by zero would make its scores NaN, which no order places.
    divisor = float(scores.mean() if how == "mean" else scores.max())
    return scores / divisor if divisor > 0 else scores


def _stops(group: ChannelGroup, count: int, settings: PruneSettings) -> list[int]:
    """Counts of units, of ``count`` at first, after whose removal a group has an allowed width; ascending.

    A group narrower than two multiples of ``round_to`` that is itself no multiple of it may take any width. Where
    groups lose by what it costs and nobody asked for a multiple, narrow ones go in finer steps, as half of their
    channels at a time leaves no choice; runtimes that compute by blocks still take these.
    """
    width = group.width
    multiple = settings.round_to
    # Only where nobody asked for a multiple: --round-to 8 promises multiples of 8 (docs/decisions/0003).
    rounded = settings.given("round_to")
    narrow = settings.scope == "loss" and count * width < NARROW
    # A group of just one multiple has no smaller one.
    if not rounded and (narrow or count * width == multiple):
        multiple = min(multiple, FINE)
    # Multiples and fewest channels are about widths; of residual blocks any number may be left.
    narrowest = 1 if group.blocks else settings.min_channels
    step = 1 if group.blocks else _units_of(multiple, group.widest)
    # The small number keeps 10 * (1 - 0.7), which is 3.0000000000000004 in floating point, from rounding up to 4.
    least = max(1, -(-narrowest // group.counts), ceil(count * (1 - settings.max_ratio) - 1e-9))
    # A group narrower than the step would have no allowed width at all.
    if step > count:
        step = 1
    kept = [k for k in range(count - 1, least - 1, -1) if k % step == 0]
    return [count - k for k in kept]


def _units_of(multiple: int, width: int) -> int:
    """A multiple of channels in units of ``width`` channels: 4 units of 2 channels are a multiple of 8."""
    return multiple // gcd(multiple, width)


def unrounded(groups: Sequence[ChannelGroup], settings: TargetSection) -> list[str]:
    """A note on groups that lose channels and are too narrow for the multiple that was asked for."""
    multiple = settings.round_to
    narrow = [g for g in groups if not g.blocks and _units_of(multiple, g.widest) > len(g.units)]
    if not narrow or not settings.given("round_to"):
        return []
    widest = max(narrow, key=lambda g: g.channels)
    which = "any group" if len(narrow) == len(groups) else f"{len(narrow)} of {len(groups)} groups"
    return [
        f"--round-to {multiple} was not kept in {which}: they are narrower, {widest.name!r}, the widest, with "
        f"{widest.channels} channels, and got other widths"
    ]


def take(chunks: Sequence[Chunk], settings: PruneSettings, total: int, gone: int = 0) -> Removed:
    """What ``ratio`` removes: chunks that fall at least half within it; globally, that share of ``total`` units, of
    which ``gone`` went in earlier steps."""
    ratio = settings.ratio or 0.0
    chosen = [c for c in chunks if c.fixed and c.key < 0]
    free = [c for c in chunks if not c.fixed]
    if settings.scope != "global":
        # Keys are quotients of whole numbers; the slack keeps one that equals the ratio from failing by its last bit.
        return _gather(chosen + [c for c in free if c.key <= ratio + 1e-9])
    left = ratio * total - gone
    for chunk in free:
        # It stops at the first that does not fit, since taking later, smaller ones would remove units of higher score.
        if len(chunk.units) / 2 > left:
            break
        chosen.append(chunk)
        left -= len(chunk.units)
    return _gather(chosen)


@dataclass(frozen=True)
class Goal:
    """A target.

    Attributes:
        cost: what is left when units go.
        whole: what it was at first.
        share: of ``whole``, to be kept.
        what: how messages call it.
        exact: whether missing it is an error.
        kind: what is counted: 'macs', 'params' or 'bytes'.
        ceiling: anything below it meets it too, as a number of bytes that has to fit somewhere.
        bounds: what to change where it is out of reach.
    """

    cost: Callable[[UnitArray], float]
    whole: float
    share: float
    what: str
    exact: bool = True
    kind: str = "macs"
    ceiling: bool = False
    bounds: tuple[str, ...] = ()

    def told(self, share: float) -> str:
        """A share of ``whole`` as the target was given: in bytes, or as a share."""
        return quantity(round(share * self.whole), "B") if self.ceiling else percentage(share)

    @property
    def slack(self) -> float:
        """By how much it may be missed, as a share of the whole original."""
        # Of the target and not of the whole: 2 points would be far off where only 5 % are to be kept. A ceiling is met
        # from below alone, and bytes of a file are counted at most before it is made, so that half of it is aimed at.
        return TARGET_TOLERANCE * self.share / (2 if self.ceiling else 1)

    @property
    def most(self) -> float:
        """The largest share that meets it."""
        return self.share if self.ceiling else self.share + self.slack

    def met(self, left: float) -> bool:
        """Does it meet the target if this share is left?"""
        return left <= self.most and (self.ceiling or left >= self.share - self.slack)

    def away(self, left: float) -> tuple[bool, float]:
        """How far from the target it is if this share is left, the smaller the nearer: above a ceiling, and by what."""
        # Whatever is above a ceiling fails it, so it comes after all that is below.
        return self.ceiling and left > self.most, abs(left - self.share)

    def near(self, left: float) -> bool:
        """Is this share as near as it may be missed by, so that nothing nearer has to be looked for?"""
        return self.away(left) <= (False, self.slack)

    def left(self, chunks: Sequence[Chunk]) -> float:
        """The share of ``whole`` that is left without ``chunks``."""
        units = [c.units for c in chunks]
        # A cost of zero happens in graphs without weights or products; then nothing can be saved and the share is 0.
        return self.cost(np.concatenate(units) if units else np.zeros(0, np.int64)) / max(self.whole, 1.0)

    def left_without(self, removed: Removed) -> float:
        """The share of ``whole`` that is left without these units."""
        units = [*removed.values(), np.zeros(0, np.int64)]
        return self.cost(np.concatenate(units).astype(np.int64)) / max(self.whole, 1.0)


def goal_of(cost: CostModel, settings: PruneSettings, origin: Origin) -> Goal:
    """The target that the settings have, of MACs, parameters or bytes.

    Raises:
        NothingToPrune: the file is as small already.
    """
    # Only the last step has to hit the target; the ones before may land beside theirs.
    exact = settings.steps == 1
    if settings.target_macs is not None:
        return Goal(cost.macs_after, origin.macs, settings.target_macs, "MACs", exact, bounds=settings.bounds)
    if settings.target_params is not None:
        share, bounds = settings.target_params, settings.bounds
        return Goal(cost.params_after, origin.params, share, "parameters", exact, "params", bounds=bounds)
    # Up to 1 it is a share, above that bytes (config/target.py).
    wanted = float(settings.target_size if settings.target_size is not None else 1.0)
    if wanted > 1 and wanted >= origin.size:
        have, most = quantity(origin.size, "B"), quantity(round(wanted), "B")
        raise NothingToPrune(f"the file has {have} already, and --target-size allows {most}; give a smaller size")
    share = wanted if wanted <= 1 else wanted / origin.size
    return Goal(
        # The graph itself, names and padding do not shrink with the channels, so they are added as they were.
        lambda units: origin.rest + cost.bytes_after(units),
        origin.size,
        share,
        "file size",
        exact,
        "bytes",
        wanted > 1,
        settings.bounds,
    )


def too_much(goal: Goal, least: float) -> str:
    """The sentence for a target that even everything that may go does not reach."""
    number = quantity(round(least * goal.whole), "B" if goal.kind == "bytes" else "").strip()
    share = f"{percentage(least)} of the original"
    # Multiply-accumulates are counted over all samples of a run here, and told for one of them.
    told = f"{number} ({share})" if goal.ceiling else share if goal.kind == "macs" else f"{share} ({number})"
    # Numbers of fewer bits make a file smaller where no channel may go any more.
    other = ["make it smaller with unify or quantize"] if goal.kind == "bytes" else []
    asked = goal.told(goal.share)
    # A number without a unit is bytes, and thousands of them are what is mostly meant.
    if goal.ceiling and least <= 1000 * goal.share <= 1:
        asked += f" (or was {goal.told(1000 * goal.share)} meant?)"
    remedy = nearest_that_is_met(goal, least, other)
    return f"{goal.what} can go down to no less than {told}, the target is {asked}; {remedy}"


def nearest_that_is_met(goal: Goal, least: float, other: Sequence[str] = ()) -> str:
    """What to ask for where no less than a share is reached, or what makes it less: the likeliest, or the first of
    ``other``."""
    # Rounded up to what is printed, as what is asked for has to be reached: to three digits, or tenths of a per cent.
    step = 10.0 ** (floor(log10(least * goal.whole)) - 2) / goal.whole if goal.ceiling and least > 0 else 1e-3
    smallest = goal.told(min(1.0, ceil(least / step) * step))
    less = next(iter([*goal.bounds, *other]), "")
    return f"ask for {smallest} or more" + (f", or {less}" if less else "")


def too_coarse(goal: Goal, nearest: float) -> str:
    """The sentence for a target between two steps."""
    # In steps of one channel there is nothing finer.
    finer = [bound for bound in goal.bounds if bound == FINER_STEPS] or [f"ask for {goal.told(nearest)}"]
    return (
        f"the nearest {goal.what} to the target of {goal.told(goal.share)} is {goal.told(nearest)}, because channels "
        f"go in steps; {finer[0]}"
    )


def demand_reachable(chunks: Sequence[Chunk], goal: Goal) -> list[Chunk]:
    """The chunks that may go: those of infinite key a fixed share keeps.

    Raises:
        TargetOutOfReach: without all of them more is left than the goal.
    """
    usable = [c for c in chunks if np.isfinite(c.key)]
    # Everything that may go is tried first, so that out of reach differs from too coarse.
    least = goal.left(usable)
    if least > goal.most and goal.exact:
        raise TargetOutOfReach(too_much(goal, least))
    return usable


def reach(chunks: Sequence[Chunk], goal: Goal) -> Removed:
    """The shortest prefix after which at most the goal is left, then refined by single chunks.

    Raises:
        TargetOutOfReach: even everything that may go is not enough, or the chunks are too coarse to come within
            :data:`TARGET_TOLERANCE`.
    """
    # Earlier steps, or lossless clean-up, may have met the target already; what the user fixed still goes.
    if goal.left([]) <= goal.most:
        return _gather([c for c in chunks if c.fixed and np.isfinite(c.key)])
    usable = demand_reachable(chunks, goal)
    low, high = 0, len(usable)
    # What is left never grows as the prefix does, so the shortest prefix that meets the goal is found by bisection.
    while low < high:
        middle = (low + high) // 2
        if goal.left(usable[:middle]) <= goal.share:
            high = middle
        else:
            low = middle + 1
    chosen = _refine(usable, high, goal)
    reached = goal.left(chosen)
    if not goal.met(reached) and goal.exact:
        raise TargetOutOfReach(too_coarse(goal, reached))
    return _gather(chosen)


def _refine(usable: Sequence[Chunk], stop: int, goal: Goal) -> list[Chunk]:
    """Gives a chunk back, takes the next one of a group, or does both, while that brings the cost nearer."""
    # Chunks near the end of the prefix are the ones whose removal is least certain, and are exchanged first.
    place = usable[max(stop - 1, 0)].key if usable else 0.0
    taken = list(usable[:stop])
    best = goal.away(goal.left(taken))
    for _ in range(REFINEMENTS):
        # Close enough: every round counts the cost of some fifty choices.
        if best <= (False, goal.slack / 10):
            break
        trials = _trials(usable, taken, place)
        errors = [goal.away(goal.left(chosen)) for chosen in trials]
        if not errors or min(errors) >= best:
            break
        best = min(errors)
        taken = trials[errors.index(best)]
    return taken


def _trials(usable: Sequence[Chunk], taken: Sequence[Chunk], place: float) -> list[list[Chunk]]:
    """Choices that differ from ``taken`` by the chunk at the end of one group or of two, nearest to ``place`` first."""
    chosen = {id(chunk) for chunk in taken}
    # Within a group the order holds: only its last taken chunk may come back, only the first left one may go.
    last = {c.group: c for c in usable if id(c) in chosen}
    following = {c.group: c for c in reversed(usable) if id(c) not in chosen}
    back, forth = (sorted(ends.values(), key=lambda c: abs(c.key - place))[:TRIED] for ends in (last, following))
    # A share that the user fixed for a layer is not traded against others.
    back = [c for c in back if not c.fixed]
    pairs = [(b, f) for b in back[:SWAPPED] for f in forth[:SWAPPED] if b.group != f.group]
    moves = [*((b, None) for b in back), *((None, f) for f in forth), *pairs]
    return [[*(c for c in taken if c is not b), *([f] if f is not None else [])] for b, f in moves]


def _gather(chunks: Sequence[Chunk]) -> Removed:
    gathered: dict[str, list[UnitArray]] = {}
    for chunk in chunks:
        gathered.setdefault(chunk.group, []).append(chunk.units)
    return {name: np.concatenate(parts) for name, parts in gathered.items()}
