"""How much goes, and from where: scores and a ratio or target become a choice of units.

Every group is cut into chunks, weakest units first, each as large as ``round_to`` asks. All chunks are lined up by
a key, and what is removed is a prefix of that line: a ratio says where to stop, a target is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil, gcd

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import UnitArray
from compressor.config import PruneSettings
from compressor.errors import TargetOutOfReach
from compressor.pruning.criteria import Scores
from compressor.pruning.criteria.base import ranking

TARGET_TOLERANCE = 0.02
"""A target counts as reached within this share of the original."""


@dataclass(frozen=True)
class Chunk:
    """Units of one group that go together; ``key`` places it in the line, the group's weaker chunks before it."""

    group: str
    units: UnitArray
    key: float
    fixed: bool


Removed = dict[str, UnitArray]


def line_up(ranked: Mapping[ChannelGroup, Scores], settings: PruneSettings) -> list[Chunk]:
    """All chunks of all groups in the order in which they would go; units of infinite score stay."""
    chunks = [chunk for group, scores in ranked.items() for chunk in _chunks(group, scores, settings)]
    return sorted(chunks, key=lambda c: c.key)


def _own_ratio(group: ChannelGroup, settings: PruneSettings) -> float | None:
    """The ratio that the first matching glob sets for this group."""
    for glob, ratio in settings.layer_ratio:
        if any(fnmatchcase(name, glob) for name in group.names):
            return ratio
    return None


def _chunks(group: ChannelGroup, scores: Scores, settings: PruneSettings) -> list[Chunk]:
    count = len(group.units)
    order = ranking(group.units, scores)
    own = _own_ratio(group, settings)
    free = int(np.isfinite(scores).sum())
    scaled = _scaled(scores[np.isfinite(scores)], settings.normalise)
    cumulative = np.concatenate([[0.0], np.cumsum(np.sort(scaled))])
    found: list[Chunk] = []
    start = 0
    for end in (stop for stop in _stops(group, settings) if stop <= free):
        if own is not None:
            key = -1.0 if (start + end) / 2 / count <= own else np.inf
        elif settings.scope == "local":
            key = (start + end) / 2 / count
        else:
            key = float(cumulative[end] - cumulative[start]) / (end - start)
        found.append(Chunk(group.name, group.units[order[start:end]], key, own is not None))
        start = end
    return found


def _scaled(scores: Scores, how: str) -> Scores:
    if not scores.size or how == "none":
        return scores
    divisor = float(scores.mean() if how == "mean" else scores.max())
    return scores / divisor if divisor > 0 else scores


def _stops(group: ChannelGroup, settings: PruneSettings) -> list[int]:
    """Counts of removed units after which a group has an allowed width, ascending.

    A group narrower than two multiples of ``round_to`` that is itself no multiple of it may take any width.
    """
    count, width = len(group.units), group.width
    step = settings.round_to // gcd(settings.round_to, width)
    least = max(1, -(-settings.min_channels // width), ceil(count * (1 - settings.max_ratio) - 1e-9))
    if step > count:
        step = 1
    kept = [k for k in range(count - 1, least - 1, -1) if k % step == 0]
    return [count - k for k in kept]


def take(chunks: Sequence[Chunk], settings: PruneSettings, total: int) -> Removed:
    """What ``ratio`` removes: chunks that fall at least half within it; globally, that share of ``total`` units."""
    ratio = settings.ratio or 0.0
    chosen = [c for c in chunks if c.fixed and c.key < 0]
    free = [c for c in chunks if not c.fixed]
    if settings.scope == "local":
        return _gather(chosen + [c for c in free if c.key <= ratio + 1e-9])
    left = ratio * total
    for chunk in free:
        if len(chunk.units) / 2 > left:
            break
        chosen.append(chunk)
        left -= len(chunk.units)
    return _gather(chosen)


def reach(chunks: Sequence[Chunk], cost: Callable[[UnitArray], float], target: float, what: str) -> Removed:
    """The shortest prefix whose cost is at most ``target`` times the original, then refined by single chunks.

    Raises:
        TargetOutOfReach: even everything that may go is not enough, or the chunks are too coarse to come within
            2 %.
    """
    usable = [c for c in chunks if np.isfinite(c.key)]
    whole = cost(np.zeros(0, np.int64))
    share = _share_of(cost, whole)
    if target >= 1.0 - TARGET_TOLERANCE:
        return _gather([c for c in usable if c.fixed])
    least = share(usable)
    if least > target + TARGET_TOLERANCE:
        raise TargetOutOfReach(
            f"{what} can go down to {least:.1%} of the original at most, the target is {target:.1%}; "
            "raise --max-ratio, lower --round-to, or see --explain for what is frozen"
        )
    low, high = 0, len(usable)
    while low < high:
        middle = (low + high) // 2
        if share(usable[:middle]) <= target:
            high = middle
        else:
            low = middle + 1
    chosen = _refine(usable, high, share, target)
    reached = share(chosen)
    if abs(reached - target) > TARGET_TOLERANCE:
        raise TargetOutOfReach(
            f"the nearest {what} to the target of {target:.1%} is {reached:.1%}, because channels go in steps; "
            "lower --round-to"
        )
    return _gather(chosen)


def _share_of(cost: Callable[[UnitArray], float], whole: float) -> Callable[[Sequence[Chunk]], float]:
    def share(chunks: Sequence[Chunk]) -> float:
        units = [c.units for c in chunks]
        return cost(np.concatenate(units) if units else np.zeros(0, np.int64)) / max(whole, 1.0)

    return share


def _refine(
    usable: Sequence[Chunk], stop: int, share: Callable[[Sequence[Chunk]], float], target: float
) -> list[Chunk]:
    """Gives back the last chunk of single groups while that brings the cost nearer to the target."""
    chosen = list(usable[:stop])
    best = abs(share(chosen) - target)
    last: dict[str, int] = {c.group: k for k, c in enumerate(chosen)}
    for position in sorted(last.values(), reverse=True)[:64]:
        if best <= TARGET_TOLERANCE / 10:
            break
        trial = chosen[:position] + chosen[position + 1 :]
        error = abs(share(trial) - target)
        if error < best and not chosen[position].fixed:
            best, chosen = error, trial
    return chosen


def _gather(chunks: Sequence[Chunk]) -> Removed:
    found: dict[str, list[UnitArray]] = {}
    for chunk in chunks:
        found.setdefault(chunk.group, []).append(chunk.units)
    return {name: np.concatenate(parts) for name, parts in found.items()}
