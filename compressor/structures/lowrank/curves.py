"""What every layer loses at every rank, in the unit in which channels are judged: the mean square of how outputs move.

The first half of the samples gives covariances, by which factors are made; the second says what they lose
(:mod:`compressor.allocation.judge`). One decomposition serves all ranks of a side: with z = S W x the outputs of a
layer in the metric that weighs them, rank r of the side ``outputs`` loses what z has outside of r directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from compressor.allocation.judge import PROBED, Probe, marks
from compressor.core.arrays import Floats
from compressor.core.compare import TINY
from compressor.reconstruct.form import Matrix
from compressor.structures.layer.change import ChangeLine, LayerChange, cheapest_first
from compressor.structures.layer.geometry import Geometry, ThinnedSide
from compressor.structures.layer.judged import JudgedMatrix, LayerCurve, LayerEvidence, Weighting
from compressor.structures.layer.layers import CandidateLayer
from compressor.structures.lowrank.factors import Truncation
from compressor.structures.lowrank.thinned import Thinned

RANKS = 32
"""Ranks that are considered of a layer."""
SHARES_JUDGED = (0.0, 0.125, *PROBED)
"""Shares of the widest rank at which losses are judged where each takes a regression, which is cubic in the rank."""


@dataclass(frozen=True)
class Ranks:
    """Which ranks are allowed.

    Attributes:
        multiple: ranks are multiples of it.
        narrow: the same for layers narrower than ``wide``.
        wide: see there.
        least: smallest share of the widest rank.
    """

    multiple: int
    narrow: int
    wide: int
    least: float

    def of(self, widest: int) -> list[int]:
        """Ranks below the widest one, ascending, evenly spaced."""
        step = self.multiple if widest >= self.wide else self.narrow
        # A layer narrower than two steps would have no rank at all.
        step = step if widest >= 2 * step else 1
        # Rounding of the product must not lift it over a whole number.
        low = max(1, int(np.ceil(self.least * widest - 1e-9)))
        found = [rank for rank in range(step, widest, step) if rank >= low]
        places = np.unique(np.linspace(0, len(found) - 1, min(RANKS, len(found))).round().astype(int))
        return [found[k] for k in places] if found else []


class RankCurve(LayerCurve):
    """What one layer loses at every rank; ``found`` is what it is judged by."""

    def __init__(self, layer: CandidateLayer, place: int, found: LayerEvidence) -> None:
        super().__init__(layer, place)
        parts = found.parts(layer, place)
        self._metrics = tuple(part.metrics for part in parts)
        # Rows and decompositions are let go here: those of all layers together would not fit into memory.
        self._losses = {side: self._measured(side, parts) for side in sides_of(layer.geometry)}

    def line(self, ranks: Ranks) -> ChangeLine:
        """All options that cost less than the layer, by falling cost; of those that cost more and lose more, none."""
        size = self.layer.geometry
        found: list[tuple[float, float, LayerChange | None]] = [(size.macs, 0.0, None)]
        for option in thinned_options(size, ranks, self._metrics):
            loss = float(self._losses[option.side][option.rank]) * self.factor
            found.append((option.macs(size), loss, option))
        return cheapest_first(self.layer, found)

    def _measured(self, side: ThinnedSide, parts: list[JudgedMatrix]) -> Floats:
        """float64[widest + 1]: by rank, never falling as ranks fall."""
        size = self.layer.geometry
        widest = size.widest(side)
        pairs = [(part, Truncation(part.matrix, part.metrics, size.inputs, side)) for part in parts]
        probed, few = (marks(widest, shares) - {widest} for shares in (PROBED, SHARES_JUDGED))
        changes = {rank: [_change(*pair, rank) for pair in pairs] for rank in (probed if side == "outputs" else few)}
        losses = np.zeros(widest + 1)
        if side == "outputs":
            for part, truncation in pairs:
                losses += truncation.dropped(part.held.inputs)[: widest + 1]
        else:
            known = {k: sum(part.held.loss(c) for (part, _), c in zip(pairs, changes[k], strict=True)) for k in few}
            losses = _between(known, widest)
        # Noise must not make a larger rank worse: the knapsack relies on it.
        losses = np.asarray(np.maximum.accumulate(losses[::-1])[::-1])
        self.probes = [(float(losses[rank]), self._probed(parts, changes[rank])) for rank in sorted(probed)]
        return losses

    def _probed(self, parts: list[JudgedMatrix], changes: list[Matrix]) -> list[Probe]:
        pairs = enumerate(zip(changes, parts, strict=True))
        return [Probe(self.place, k, change.astype(np.float32), part.mean) for k, (change, part) in pairs]


def thinned_options(size: Geometry, ranks: Ranks, metrics: tuple[Weighting, ...] = ()) -> Iterator[Thinned]:
    """Every side and rank that saves work in a layer; ``metrics`` of each group make factors without samples."""
    for side in sides_of(size):
        widest = size.widest(side)
        for rank in ranks.of(widest):
            option = Thinned(side, rank, widest, metrics)
            if option.macs(size) < size.macs:
                yield option


def sides_of(size: Geometry) -> tuple[ThinnedSide, ...]:
    """The sides that can be thinned: without taps both are the same decomposition."""
    return ("outputs", "inputs") if size.taps > 1 else ("outputs",)


def _between(known: Mapping[int, float], widest: int) -> Floats:
    """float64[widest + 1]: losses by rank, of a few: straight in logarithms, as they fall over several orders."""
    ranks = sorted(known)
    if not ranks:
        return np.zeros(widest + 1)
    logs = [float(np.log(max(known[rank], TINY))) for rank in ranks]
    places = np.arange(widest + 1)
    found = np.interp(places, ranks, logs)
    # Beyond the last one they go on falling as they fell before it.
    if len(ranks) > 1:
        fall = min(0.0, (logs[-1] - logs[-2]) / (ranks[-1] - ranks[-2]))
        found += fall * np.maximum(places - ranks[-1], 0)
    return np.asarray(np.exp(found))


def _change(part: JudgedMatrix, truncation: Truncation, rank: int) -> Matrix:
    return truncation.product(*truncation.at(rank)) - part.matrix
