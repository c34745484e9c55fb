"""What every group of channels loses at each of its widths, whoever measured it; and the widths a run may choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import UnitArray
from compressor.core.arrays import Floats
from compressor.pruning.budgets.budget import Chunk
from compressor.pruning.budgets.widths import WidthLine, levels_of
from compressor.pruning.criteria import Scores


@dataclass(frozen=True)
class LossCurve:
    """What one group loses.

    Attributes:
        order: units in the order in which they go, the most expendable first.
        losses: float64[len(order) + 1], what is lost once so many of them are gone; starts at 0 and never falls.
    """

    order: UnitArray
    losses: Floats


GroupScores = Mapping[ChannelGroup, Scores]
"""The groups that may be pruned, and the scores of their units, infinite for those that stay."""
Curves = Mapping[str, LossCurve]
"""By the name of the group."""


def lines_of(curves: Curves, ranked: GroupScores, chunks: Mapping[str, list[Chunk]]) -> list[WidthLine]:
    """The widths that every group may have, with what is lost there.

    Args:
        curves: of all groups.
        ranked: the groups.
        chunks: of each group, in the order in which they would go; they say which widths are allowed. A group whose
            share the user fixed has its chunks marked, and one width only.
    """
    return [_line(group, curves[group.name], chunks.get(group.name, []), len(ranked)) for group in ranked]


def _line(group: ChannelGroup, curve: LossCurve, chunks: list[Chunk], groups: int) -> WidthLine:
    fixed = [chunk for chunk in chunks if chunk.fixed]
    stops = np.cumsum([0, *(len(chunk.units) for chunk in chunks)])
    if fixed:
        # A share that the user fixed leaves one width: that of the chunks within it, which have a finite key.
        stops = np.asarray([sum(len(chunk.units) for chunk in fixed if np.isfinite(chunk.key))])
    # Chunks count units that scores allow to go; the curve may know fewer, as it keeps at least one.
    stops = stops[stops <= len(curve.order)]
    # The knapsack grows with the number of widths, so that of many only some are offered.
    stops = stops[levels_of(0, len(stops) - 1, groups)]
    return WidthLine(group, tuple(curve.order[:stop] for stop in stops), curve.losses[stops])
