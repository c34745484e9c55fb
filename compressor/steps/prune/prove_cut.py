"""A model is cut, and removal proved to equal masking; and before, that preparing it changed no output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.core.scratch import scratch
from compressor.errors import ProofFailed
from compressor.pruning.budgets.cost import graph_macs
from compressor.pruning.budgets.select import Choice
from compressor.pruning.cut import surgery
from compressor.pruning.cut.analysis import Analysis, audit
from compressor.pruning.cut.apply import apply_cut
from compressor.pruning.proofs import canary, proof
from compressor.pruning.proofs.graphs.exact import demand_exact
from compressor.pruning.proofs.graphs.interface_match import demand_declared
from compressor.pruning.proofs.graphs.open_sizes import demand_open_sizes
from compressor.pruning.proofs.graphs.wiring import demand_wiring
from compressor.pruning.proofs.outputs.double import MOST_MACS, judged_in_double
from compressor.pruning.proofs.outputs.evidence import (
    Evidence,
    Noticed,
    NotProved,
    NotProvedKind,
    demand_proof,
    with_comparisons,
)
from compressor.pruning.proofs.outputs.standard import Standard, finite_everywhere
from compressor.pruning.proofs.preparation import Original, prove_preparation
from compressor.pruning.proofs.proof import MaskedReference
from compressor.pruning.proofs.routes import ModelPair, Routed, prove_routes
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.pruning.proofs.second_size import at_second_size
from compressor.runtime.stored import Runnable
from compressor.steps.prune.layer_options import structure_of


def prove_prepared(source: Original, analysis: Analysis, settings: PruneSettings, clock: Clock) -> list[NotProved]:
    """Proves that preparing the model changed no output; what of that could not be proved."""
    if settings.verify != "full":
        return []
    with clock.phase("prove"):
        numbers = not settings.lossless  # which says so itself, and that there is nothing to prune
        return prove_preparation(source, analysis.model, analysis.shapes, settings, numbers=numbers)


@dataclass(frozen=True)
class ProvedCut:
    """A model that was cut, and what was proved of the cut: nothing where no channel went, or nobody asked."""

    model: ir.Model
    evidence: tuple[Evidence, ...] = ()


def cut_and_prove(
    analysis: Analysis, choice: Choice, cut: ChannelMask, settings: PruneSettings, clock: Clock
) -> ProvedCut:
    """The model without what was chosen, and the proof that removal equals masking.

    Args:
        analysis: what is cut.
        choice: what goes.
        cut: the same, for every value.
        settings: how it is proved.
        clock: receives the time of each phase.

    Raises:
        ProofFailed: it does not.
        RuleFault: a rule is to blame; see :func:`compressor.pruning.cut.analysis.without_faulty_rules`.
    """
    # Layers change and no channel goes, so there is no cut to prove; the layers are proved later.
    if not choice.plan.removals and structure_of(settings).layers:
        return ProvedCut(analysis.model.clone())
    if not settings.proves:
        with clock.phase("cut"):
            small = apply_cut(analysis, cut)
            # Without a proof this is what is left to notice a rule that does not fit.
            audit(analysis, small, settings)
            return ProvedCut(small)
    with scratch() as place:
        case = _Case(analysis, choice, cut, settings, place)
        with clock.phase("prove"):
            # The reference is written before anything is cut; arrays that it shares with the cut model are read-only.
            masked = case.masked()
        with clock.phase("cut"):
            small = apply_cut(analysis, cut)
        with clock.phase("prove"):
            try:
                return ProvedCut(small, (case.prove(masked, small),))
            # Where a rule no longer fits the smaller graph, audit names its node, and the run starts over without that
            # rule.
            except ProofFailed:
                audit(analysis, small, settings)
                raise


@dataclass(frozen=True)
class _Case:
    """A step that is proved; fields as the arguments of :func:`cut_and_prove`, and where files are put."""

    analysis: Analysis
    choice: Choice
    cut: ChannelMask
    settings: PruneSettings
    folder: Path

    def masked(self, *, thorough: bool = False) -> MaskedReference:
        """The graph in which what goes does not count; where nothing that counts may go, the prepared one."""
        if self.settings.lossless:
            model, masks = self.analysis.model.clone(), None
        else:
            model, masks = surgery.mask(self.analysis.model, self.cut, thorough=thorough)
        return MaskedReference(model, self._stored(model), masks)

    def prove(self, masked: MaskedReference, small: ir.Model) -> Evidence:
        """What the smaller model and the reference show: alike, on every route, at a second size, and no wrong cut."""
        stored = self._stored(small)
        masked, evidence, standard = self._compared(masked, stored, small)
        if evidence.runs is not None:
            demand_declared(small, evidence.runs, self.analysis.coupling.policy.free)
        tolerance = proof.tolerance_of(self.settings)
        pair, provider = ModelPair(masked.model, small), self.settings.provider
        routed = prove_routes(pair, standard.runs.feeds, tolerance, self.folder, provider)
        evidence = with_comparisons(evidence, routed.shown)
        # The reference ran at one size: its masks may fit no other, while the file takes it.
        if masked.masks is not None and any(map(_is_of_sizes, evidence.not_proved)):
            evidence = self._at_second_size(evidence, stored)
        evidence = evidence.with_missing([*evidence.silent, *routed.missing])
        if self.settings.verify != "full":
            return evidence
        demand_exact(self.cut, small)
        demand_wiring(self.cut, small)
        demand_open_sizes(self.cut, small)
        return evidence.with_wrong_models(self._wrong_cuts(masked, small, standard, routed))

    def _compared(
        self, masked: MaskedReference, small: Runnable, model: ir.Model
    ) -> tuple[MaskedReference, Evidence, Standard]:
        """A reference that is a number everywhere, what the smaller model shows beside it, and what was asked of that.

        Where the reference is no number, as zero times infinity is none, another one masks more.
        """
        evidence, standard = proof.prove(masked, small, self.analysis.shapes, self.settings)
        # A kernel of zeros does not silence a channel of infinities; then values are masked as well.
        if not finite_everywhere(standard.runs) and masked.masks is not None:
            masked = self.masked(thorough=True)
            evidence, standard = proof.prove(masked, small, self.analysis.shapes, self.settings)
        coupling = self.analysis.coupling
        unsure = not evidence.passed or bool(standard.hardly_compared)
        if unsure and graph_macs(coupling.graph, coupling.shapes) <= MOST_MACS:
            evidence, standard = judged_in_double(evidence, standard, masked.model, model)
        demand_proof(evidence)
        return masked, evidence, standard

    def _wrong_cuts(self, masked: MaskedReference, small: ir.Model, standard: Standard, routed: Routed) -> Noticed:
        """What came of models that were cut wrongly on purpose."""
        case = canary.Case(
            cut=self.cut,
            small=small,
            reference=masked.model,
            standard=standard,
            folder=self.folder,
            provider=self.settings.provider,
            routes=routed.standards,
            masked=masked.masks is not None,
        )
        return case.try_wrong_cuts(self.choice.groups)

    def _at_second_size(self, evidence: Evidence, small: Runnable) -> Evidence:
        """The evidence with a comparison at the second size, where a reference of that size can be made.

        One size alone was compared still where an output gave no number at the second one.
        """
        more = at_second_size(self.analysis, self.choice.plan, small, self.settings, self.folder)
        if more is None:
            return evidence
        both = with_comparisons(evidence, [more])
        if more.compared:
            both = replace(both, inputs=[*evidence.inputs, *more.inputs])
        if not all(more.counts.get(name) for name, count in evidence.counts.items() if count):
            return both
        return replace(both, not_proved=[item for item in both.not_proved if not _is_of_sizes(item)])

    def _stored(self, model: ir.Model) -> Runnable:
        return runnable(model, self.folder, self.settings.provider)


def _is_of_sizes(item: NotProved) -> bool:
    return item.kind is NotProvedKind.SIZES
