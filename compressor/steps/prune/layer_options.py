"""Layers that change in a run: options are measured and chosen with the channels that go, and the writing is proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compressor.channels.plan import PruningPlan, plan_of
from compressor.config import PruneSettings
from compressor.config.choices import STRUCTURES
from compressor.core.clock import Clock
from compressor.errors import NothingToPrune, UsageError
from compressor.pruning.analysis import Analysis
from compressor.pruning.budget import Goal
from compressor.pruning.by_loss import ByLoss, budget_of, uniform_share
from compressor.pruning.cost import graph_macs
from compressor.pruning.curves import Curves
from compressor.pruning.nearest import finer, nearest_of
from compressor.pruning.select import Choice, Ranking, origin_of, policy_of
from compressor.steps.offers import offer_of, ranks_of
from compressor.steps.prune.losses import Losses

if TYPE_CHECKING:
    from compressor.structures.choose import JointChoice
    from compressor.structures.layer.change import ChangeLine, LayerChange
    from compressor.structures.layer.layers import CandidateLayer
    from compressor.structures.structure import Structure

NO_LAYER_TO_CHANGE = "no layer of this model can be taken apart{reasons}; --structure channels removes channels"
NO_CURVES = (
    "--structure both weighs channels against ranks by what outputs lose, which takes samples that the model runs on "
    "and a linear layer that reads channels; choose --structure channels or lowrank"
)
COARSE = "{what} were brought to {left:.1%} instead of {share:.1%}, as what layers may become comes in coarse steps"


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
    """

    choice: Choice
    changes: Mapping[str, LayerChange]


class LayerOptions:
    """What single layers may become, for one run.

    Attributes:
        refused: node -> why it stays as it is.
        notes: what the report has to say besides.

    Args:
        settings: of the run.
        losses: reads samples; None where there are none, and ranks lose what they drop of the weights.
        clock: hears how it goes.
    """

    def __init__(self, settings: PruneSettings, losses: Losses | None, clock: Clock) -> None:
        self._settings, self._losses, self._clock = settings, losses, clock
        self._structure = structure_of(settings)
        self._known: tuple[Analysis, list[CandidateLayer]] | None = None
        self.refused: dict[str, str] = {}
        self.notes: list[str] = []

    def selected(self, analysis: Analysis, ranking: Ranking | None, curves: Curves | None, size: int) -> Selected:
        """What is done within the budget.

        Args:
            analysis: the analysed model.
            ranking: its groups; None where it has none that may lose channels.
            curves: what each group loses.
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
        goal = budget_of(analysis.coupling, settings, origin, self._share(analysis, ranking))
        layers = self.candidates(analysis)
        if self._structure.channels and curves is None:
            raise UsageError(NO_CURVES)
        options_of = self._lines(layers, analysis, goal)

        def within(allowed: PruneSettings) -> JointChoice:
            lines = []
            if self._structure.channels and ranking is not None and curves is not None:
                lines = ByLoss(analysis.coupling, ranking.scores, curves, allowed, origin, goal.share).lines(allowed)
            return choose_together(analysis.coupling, lines, options_of(allowed), goal)

        best = nearest_of(finer(settings), within, goal, lambda chosen: chosen.left)
        if goal.exact and not goal.near(best.left):
            self.notes.append(COARSE.format(what=goal.what, left=best.left, share=goal.share))
        return self._made(analysis, ranking, best)

    def _share(self, analysis: Analysis, ranking: Ranking | None) -> float:
        """What a ratio leaves of the multiply-accumulates: that of every group's channels; 1 for a target."""
        ratio = self._settings.ratio
        if ratio is None:
            return 1.0
        if self._structure.masks is not None:
            whole = graph_macs(analysis.coupling.graph, analysis.coupling.shapes)
            taken = sum(layer.geometry.macs for layer in self.candidates(analysis))
            return 1 - (1 - self._structure.left(ratio)) * taken / max(whole, 1)
        if ranking is None:
            # What a ratio leaves of products of two widths, where no group can show it (docs/decisions/0003).
            return self._structure.left(ratio)
        return uniform_share(analysis.coupling, ranking, self._settings)

    def candidates(self, analysis: Analysis) -> list[CandidateLayer]:
        """The layers that may change, looked for once for each analysed model.

        Raises:
            NothingToPrune: there is none, and no channel can go either.
        """
        from compressor.structures.layer.layers import candidate_layers

        if self._known is not None and self._known[0] is analysis:
            return self._known[1]
        settings, suits = self._settings, self._structure.suits
        layers, self.refused = candidate_layers(
            analysis.model, analysis.coupling, settings.include, settings.exclude, suits
        )
        if not layers and not self._structure.channels:
            reasons = ", ".join(sorted(set(self.refused.values())))
            raise NothingToPrune(NO_LAYER_TO_CHANGE.format(reasons=f" ({reasons})" if reasons else ""))
        self._known = analysis, layers
        return layers

    def _lines(
        self, layers: list[CandidateLayer], analysis: Analysis, goal: Goal
    ) -> Callable[[PruneSettings], list[ChangeLine]]:
        """What the settings allow of the options of all layers, which are measured once."""
        from compressor.structures.layer.judged import LayerEvidence, layer_curves
        from compressor.structures.lowrank.curves import RankCurve
        from compressor.structures.mask_curves import mask_curves
        from compressor.structures.reorder import movable

        rows, exact = None, None
        if self._losses is not None and layers:
            # Once for all layers and settings: reading samples is the dear part.
            rows, exact = self._losses.read(analysis, [layer.view for layer in layers])
        evidence = LayerEvidence(rows, exact, self._settings.seed, self._clock.tell)
        if self._structure.masks is not None:
            offer = offer_of(self._structure, self._settings, goal.kind)
            if not self._settings.features:
                offer = replace(offer, movable=movable(analysis.coupling, layers))
            lines = [curve.line() for curve in mask_curves(layers, evidence, offer)]
            return lambda _: lines
        curves = layer_curves(layers, evidence, "ranks", RankCurve)
        return lambda settings: [curve.line(ranks_of(settings)) for curve in curves]

    def _made(self, analysis: Analysis, ranking: Ranking | None, chosen: JointChoice) -> Selected:
        plan, groups = PruningPlan(()), []
        if ranking is not None:
            groups = ranking.groups
            if self._structure.channels:
                plan = plan_of(analysis.coupling, groups, chosen.removed, policy_of(self._settings))
        return Selected(Choice(plan, groups, None), chosen.changes)
