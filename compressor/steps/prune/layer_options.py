"""Layers that change in a run: options are measured and chosen with the channels that go, and the writing is proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from compressor.channels.plan import PruningPlan, plan_of
from compressor.config import PruneSettings
from compressor.config.choices import STRUCTURES
from compressor.core.clock import Clock
from compressor.core.formatting import percentage
from compressor.errors import NothingToPrune, UsageError
from compressor.pruning.budgets.budget import Goal
from compressor.pruning.budgets.cost import graph_macs
from compressor.pruning.budgets.nearest import finer, nearest_of
from compressor.pruning.budgets.select import Choice, Ranking, origin_of, policy_of
from compressor.pruning.by_loss import ByLoss, budget_of, uniform_share
from compressor.pruning.cut.analysis import Analysis
from compressor.steps import remarks
from compressor.steps.offers import offer_of, ranks_of
from compressor.steps.prune.losses import Losses, RunCurves

if TYPE_CHECKING:
    from compressor.results.detail import LatencyResult
    from compressor.structures.choose import JointChoice
    from compressor.structures.layer.change import ChangeLine, LayerChange
    from compressor.structures.layer.judged import LayerEvidence
    from compressor.structures.layer.layers import CandidateLayer
    from compressor.structures.masks.structure import Structure

NO_LAYER_TO_CHANGE = "no layer of this model can be taken apart{reasons}; --structure channels removes channels"
NO_CURVES = (
    "--structure both weighs channels against ranks by what outputs lose, which takes samples that the model runs on "
    "and a linear layer that reads channels; choose --structure channels or lowrank"
)
COARSE = "{what} were brought to {left} instead of {share}, as what layers may become comes in coarse steps"


def structure_of(settings: PruneSettings) -> Structure:
    """The record of ``--structure``: whether channels go, and what else may become of layers."""
    structure: Structure = STRUCTURES.find(settings.structure)
    return structure


@dataclass(frozen=True)
class Selected:
    """What a step does.

    Attributes:
        choice: channels that go.
        changes: node -> what it becomes.
        notes: what the report has to say of how it was chosen.
        latency: that was measured on the way; None where none is aimed at.
        by_losses: channels go by losses that were measured.
    """

    choice: Choice
    changes: Mapping[str, LayerChange] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    latency: LatencyResult | None = None
    by_losses: bool = False


@dataclass(frozen=True)
class _Candidates:
    """The layers of an analysed model that may change; node -> why others stay as they are."""

    analysis: Analysis
    layers: list[CandidateLayer]
    refused: Mapping[str, str]

    def without(self, unread: Mapping[str, str]) -> _Candidates:
        """All but layers that samples cannot judge, by node with the reason."""
        left = [layer for layer in self.layers if layer.name not in unread]
        return replace(self, layers=left, refused={**self.refused, **unread})


class LayerOptions:
    """What single layers may become, for one run.

    Args:
        settings: of the run.
        losses: reads samples; None where there are none, and ranks lose what they drop of the weights.
        clock: hears how it goes.
    """

    def __init__(self, settings: PruneSettings, losses: Losses | None, clock: Clock) -> None:
        self._settings, self._losses, self._clock = settings, losses, clock
        self._structure = structure_of(settings)
        self._known: _Candidates | None = None

    def selected(self, analysis: Analysis, ranking: Ranking | None, measured: RunCurves, size: int) -> Selected:
        """What is done within the budget.

        Args:
            analysis: the analysed model.
            ranking: its groups; None where it has none that may lose channels.
            measured: what each group loses.
            size: bytes of the file.

        Raises:
            NothingToPrune: no layer can change, and no channel can go.
            TargetOutOfReach: even all of that is not enough.
            UsageError: channels were to be weighed against ranks, and nothing tells what they are worth.
        """
        from compressor.structures.choose import choose_together

        settings = self._settings
        # Without groups there are still layers, whose costs are shares of the same model.
        origin = ranking.origin if ranking is not None else origin_of(analysis.coupling, [], size)
        found, evidence, notes = self._judged(analysis)
        goal, curves = budget_of(analysis.coupling, settings, origin, self._share(found, ranking)), measured.curves
        if self._structure.channels and curves is None:
            raise UsageError(NO_CURVES)
        options_of = self._lines(found, evidence, goal)
        notes = (*measured.notes, *notes, *remarks.left_alone(found.refused, "--structure"))

        def within(allowed: PruneSettings) -> JointChoice:
            lines = []
            if self._structure.channels and ranking is not None and curves is not None:
                lines = ByLoss(analysis.coupling, ranking.scores, curves, allowed, origin, goal.share).lines(allowed)
            return choose_together(analysis.coupling, lines, options_of(allowed), goal)

        best = nearest_of(finer(settings), within, goal, lambda chosen: chosen.left)
        if goal.exact and not goal.near(best.left):
            notes = (*notes, COARSE.format(what=goal.what, left=percentage(best.left), share=percentage(goal.share)))
        choice = self._choice(analysis, ranking, best)
        return Selected(choice, best.changes, notes, by_losses=curves is not None)

    def _share(self, found: _Candidates, ranking: Ranking | None) -> float:
        """What a ratio leaves of the multiply-accumulates: that of every group's channels; 1 for a target."""
        ratio, coupling = self._settings.ratio, found.analysis.coupling
        if ratio is None:
            return 1.0
        if self._structure.masks is not None:
            whole = graph_macs(coupling.graph, coupling.shapes)
            taken = sum(layer.geometry.macs for layer in found.layers)
            return 1 - (1 - self._structure.left(ratio)) * taken / max(whole, 1)
        if ranking is None:
            # What a ratio leaves of products of two widths, where no group can show it (docs/decisions/0003).
            return self._structure.left(ratio)
        return uniform_share(coupling, ranking, self._settings)

    def candidates(self, analysis: Analysis) -> list[CandidateLayer]:
        """The layers that may change; raises NothingToPrune where there is none, and no channel can go either."""
        return self._candidates(analysis).layers

    def _candidates(self, analysis: Analysis) -> _Candidates:
        """Looked for once for each analysed model."""
        from compressor.structures.layer.layers import candidate_layers

        if self._known is not None and self._known.analysis is analysis:
            return self._known
        settings, suits = self._settings, self._structure.suits
        layers, refused = candidate_layers(analysis.model, analysis.coupling, settings.include, settings.exclude, suits)
        self._known = self._demand_some(_Candidates(analysis, layers, refused))
        return self._known

    def _demand_some(self, found: _Candidates) -> _Candidates:
        if not found.layers and not self._structure.channels:
            reasons = ", ".join(sorted(set(found.refused.values())))
            raise NothingToPrune(NO_LAYER_TO_CHANGE.format(reasons=f" ({reasons})" if reasons else ""))
        return found

    def _judged(self, analysis: Analysis) -> tuple[_Candidates, LayerEvidence, tuple[str, ...]]:
        """The layers that may change and that samples can judge, what these show, and what is to be said of that.

        Raises:
            NothingToPrune: there is none, and no channel can go either.
            ModelError: the model does not run on the samples.
        """
        from compressor.structures.layer.judged import LayerEvidence

        found = self._candidates(analysis)
        rows, exact, notes = None, None, tuple[str, ...]()
        if self._losses is not None and found.layers:
            # Once for all layers and settings: reading samples is the dear part.
            read = self._losses.read(analysis, [layer.view for layer in found.layers])
            rows, exact, notes = read.rows, read.exact, read.notes
            found = self._demand_some(found.without(read.unread))
        return found, LayerEvidence(rows, exact, self._settings.seed, self._clock.tell), notes

    def _lines(
        self, found: _Candidates, evidence: LayerEvidence, goal: Goal
    ) -> Callable[[PruneSettings], list[ChangeLine]]:
        """What settings allow of the options of all layers, which are measured once."""
        from compressor.structures.layer.judged import layer_curves
        from compressor.structures.lowrank.curves import RankCurve
        from compressor.structures.mask_curves import mask_curves
        from compressor.structures.reorder import movable

        layers = found.layers
        if self._structure.masks is not None:
            offer = offer_of(self._structure, self._settings, goal.kind)
            if not self._settings.features:
                offer = replace(offer, movable=movable(found.analysis.coupling, layers))
            lines = [curve.line() for curve in mask_curves(layers, evidence, offer)]
            return lambda _: lines
        curves = layer_curves(layers, evidence, "ranks", RankCurve)
        return lambda settings: [curve.line(ranks_of(settings)) for curve in curves]

    def _choice(self, analysis: Analysis, ranking: Ranking | None, chosen: JointChoice) -> Choice:
        """The channels of what was chosen."""
        plan, groups = PruningPlan(()), []
        if ranking is not None:
            groups = ranking.groups
            if self._structure.channels:
                plan = plan_of(analysis.coupling, groups, chosen.removed, policy_of(self._settings))
        return Choice(plan, groups, None)
