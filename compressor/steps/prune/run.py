"""What all steps of a pruning run share: settings, samples, the original model, what recovers and what trains.

No step replaces any of it. What takes long to measure is measured once, and the object that measured it keeps the
result: samples that were read, and the multiply-accumulates that each ratio leaves
(:class:`~compressor.steps.prune.losses.Losses`), layers that may change
(:class:`~compressor.steps.prune.layer_options.LayerOptions`) and the latency of the original
(:class:`~compressor.latency.LatencyTarget`). Remarks on these for the report are part of what each step returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.pruning.budgets.schedule import steps_of
from compressor.pruning.cut.analysis import Analysis, analyse
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.pruning.proofs.preparation import Original
from compressor.pruning.proofs.weights_only import prove_only_weights, some_feeds
from compressor.steps.prune.choose import Means, means_of
from compressor.steps.prune.recover import Recovery
from compressor.steps.prune.request import PruneRequest
from compressor.steps.prune.start import RunStart
from compressor.steps.prune.trainer import Trainer
from compressor.steps.prune.written_file import WrittenFile
from compressor.steps.run_samples import RunSamples


@dataclass(frozen=True)
class Analysed:
    """An analysed model.

    Attributes:
        analysis: of it.
        read: what it was prepared from, which is proved to give the same.
    """

    analysis: Analysis
    read: Original


@dataclass(frozen=True)
class PruningRun:
    """What every step of one run is done with.

    Attributes:
        settings: of the run, nothing left open.
        plan: says what goes, where one is replayed.
        distrusted: node -> why its rule is not believed.
        size: bytes of the file that was given.
        means: what choices are made with.
        recovery: how cuts are recovered.
        clock: receives the time of each phase.
    """

    settings: PruneSettings
    plan: PruningPlan | None
    distrusted: Mapping[str, str]
    size: int
    means: Means
    recovery: Recovery
    clock: Clock

    @staticmethod
    def of(request: PruneRequest, start: RunStart, distrusted: Mapping[str, str], clock: Clock) -> PruningRun:
        """The run that was asked for, with what it starts from.

        Raises:
            ProviderUnavailable: a latency is asked for, and the provider is not there.
        """
        trainer = Trainer(start.source, start.settings, clock)
        recovery = Recovery(start.settings, start.samples, trainer, clock)
        file = WrittenFile(request.settings, start.settings, request.spare)
        means = means_of(start.source, start.settings, start.samples, clock, file, start.before.params)
        return PruningRun(start.settings, request.plan, distrusted, request.size, means, recovery, clock)

    @property
    def samples(self) -> RunSamples | None:
        """What is learnt from and judged on."""
        return self.means.samples

    @property
    def trainer(self) -> Trainer:
        """What trains, before a cut and after it."""
        return self.recovery.trainer

    def schedule(self) -> Iterable[PruneSettings]:
        """The settings of each step; a plan is replayed in one."""
        return [self.settings] if self.plan is not None else steps_of(self.settings)

    def analysed(self, model: ir.Model) -> Analysed:
        """A model that the run made, analysed."""
        with self.clock.phase("analyse"):
            return Analysed(analyse(model, self.settings, self.distrusted), Original(model, model))

    def demand_only_weights(
        self, analysis: Analysis, before: ir.Model, after: ir.Model, evidence: Evidence | None = None
    ) -> None:
        """Refuses what training or fitting left unless it is the model from before with other weights.

        Args:
            analysis: of the model that the step began with, whose shapes inputs are made of.
            before: what was trained or fitted.
            after: what came of it.
            evidence: a proof of ``before``, whose inputs are taken again; None: inputs are made up.

        Raises:
            ProofFailed: more than weights changed.
        """
        if after is before or self.settings.verify != "full":
            return
        with self.clock.phase("prove"):
            runs = None if evidence is None else evidence.runs
            feeds = runs.feeds if runs is not None else some_feeds(before, analysis.shapes, self.settings)
            prove_only_weights(before, after, feeds, self.settings)
