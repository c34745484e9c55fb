"""What the steps of a pruning run start from: the model analysed, and every setting decided that was left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.data import Dataset, note_sizes
from compressor.evaluate.stand_in import given_samples_notes, tell_preparation, tell_sizes
from compressor.graph.form.restore_packed import is_packed
from compressor.pruning.budgets.select import demand_target
from compressor.pruning.cut.analysis import Analysis, analyse
from compressor.pruning.cut.apply import cut_of
from compressor.pruning.cut.matching import demand_matches
from compressor.pruning.proofs.preparation import Original
from compressor.results import ModelStats
from compressor.steps import counts
from compressor.steps.prune.choose import Means, reasons_given
from compressor.steps.prune.defaults import UNPACKED, made_up, with_resizing
from compressor.steps.prune.few_samples import with_samples
from compressor.steps.prune.objective import with_latency_target
from compressor.steps.prune.request import PruneRequest
from compressor.steps.prune.written_file import WrittenFile
from compressor.steps.run_samples import RunSamples, reads_samples
from compressor.steps.run_sizes import follow_batch
from compressor.steps.tokens import of_tokens


@dataclass(frozen=True)
class RunStart:
    """What the first step starts from.

    Attributes:
        read: the original, with the tokens that stay.
        analysis: of the model.
        settings: with every default resolved.
        before: the original, counted.
        notes: what the report has to say of it all.
        samples: the user's, or made-up ones; None where the run needs none.
    """

    read: Original
    analysis: Analysis
    settings: PruneSettings
    before: ModelStats
    notes: tuple[str, ...]
    samples: RunSamples | None

    @property
    def source(self) -> ir.Model:
        """The model that was read, with the tokens that stay."""
        return self.read.model

    @property
    def tokens(self) -> tuple[int, ...] | None:
        """Old numbers of the tokens that stay; None where all do."""
        return None if self.read.renumbering is None else self.read.renumbering.tokens


def start_run(request: PruneRequest, distrusted: Mapping[str, str], clock: Clock) -> RunStart:
    """Analyses a model, decides what the settings leave open, and makes samples up where there are none.

    Args:
        request: what was given.
        distrusted: node -> why its rule is not believed.
        clock: receives the time of each phase.

    Raises:
        CompressorError: settings do not fit the model, or no samples do.
    """
    # Changed layers are counted at the sizes that they are run at.
    if request.samples is not None and not request.settings.changes_layers:
        note_sizes(request.model, request.samples.train)
    with clock.phase("analyse"):
        given = Original(request.given, request.model)
        read = of_tokens(given, request.settings) or given
        analysis = analyse(read.model, request.settings, distrusted)
        _demand_fit(request, read.model, analysis)
        settings, samples, notes = _decided(request, read.model, analysis)
        before, notes = _counted(request, read, analysis, settings), (*notes, *_renumbered(read))
        start = RunStart(read, analysis, settings, before, notes, samples)
        if request.plan is None and _aims(settings):
            _demand_target(request, start, analyse(read.model, settings, distrusted))
    if samples is None:
        start = _with_made_up(start, asked=request.settings.recover != "auto", clock=clock)
    if start.samples is None:
        return start
    # Of the user's alone, where made-up ones were added.
    told = _follow_samples(start, start.samples.train, (request.samples or start.samples).train, clock)
    if start.settings.refit_last:
        from compressor.steps.prune.refit import demand_labels

        demand_labels(start.source, start.samples.train)
    return replace(start, notes=(*start.notes, *told))


def _demand_fit(request: PruneRequest, source: ir.Model, analysis: Analysis) -> None:
    """Refuses globs that match nothing, and a plan of another model, before samples are made up."""
    demand_matches(request.settings, source, analysis)
    if request.plan is not None:
        cut_of(request.plan, analysis)


def _demand_target(request: PruneRequest, start: RunStart, again: Analysis) -> None:
    """Refuses a target that not even everything that may go reaches; ``again`` is merged by scores on the way."""
    file, params = WrittenFile(request.settings, start.settings), start.before.params
    means = Means(start.settings, None, None, None, file=file, params=params)
    with reasons_given(start.analysis):
        demand_target(again.coupling, start.settings, request.size, lambda origin: means.at_present(origin, again))


def _with_made_up(start: RunStart, *, asked: bool, clock: Clock) -> RunStart:
    """The same with made-up samples, where the run needs any."""
    with clock.phase("samples"):
        samples, missing = made_up(start.settings, start.source, start.analysis, asked=asked)
    if samples is not None:
        tell_sizes(samples.train, clock)
    return replace(start, notes=(*start.notes, *missing), samples=samples)


def _decided(
    request: PruneRequest, source: ir.Model, analysis: Analysis
) -> tuple[PruneSettings, RunSamples | None, Sequence[str]]:
    """The settings with every default resolved, the user's samples, and what the report has to say."""
    # Needs the analysed model, as it counts what a recovery would take.
    settings, notes = with_resizing(request.settings)
    settings, samples, more = with_samples(settings, source, analysis, request.samples)
    notes += [*more, *([UNPACKED] if is_packed(source) else [])]
    if request.plan is None:
        return with_latency_target(settings, analysis, request.size), samples, notes
    if not (request.plan.removals or request.plan.blocks):
        notes.append("the plan removes nothing, so that no channel went")
    return settings, samples, notes


def _counted(request: PruneRequest, read: Original, analysis: Analysis, settings: PruneSettings) -> ModelStats:
    """The original, counted as it was given."""
    before = counts.stats_of(read.model, analysis, request.size, request.file)
    if read.renumbering is None:
        return before
    # Shares are of the model as it was given, which has another vocabulary.
    whole = counts.stats_in_memory(request.model, settings, request.size)
    return whole.model_copy(update={"path": before.path})


def _renumbered(read: Original) -> list[str]:
    """What the report has to say of tokens that have other numbers."""
    if read.renumbering is None:
        return []
    sides = zip(("input", "output"), read.renumbering.names, strict=True)
    where = " and ".join(f"{what} {', '.join(map(repr, names))}" for what, names in sides if names)
    return [f"tokens have new numbers in {where}; OUT.tokens.json has the old ones"]


def _follow_samples(start: RunStart, samples: Dataset, given: Dataset, clock: Clock) -> list[str]:
    """Finds out how the model takes samples, which is noted on it; what is to be said of it and of those ``given``."""
    with clock.phase("samples"):
        tell_preparation(given, clock)
        notes = list(given_samples_notes(start.analysis.model, given, start.settings))
        return [*notes, *follow_batch([start.source, start.analysis.model], samples, start.settings)]


def _aims(settings: PruneSettings) -> bool:
    """Do channels have to meet a target, and is much done before it is known whether they can?"""
    return settings.aims and not settings.changes_layers and reads_samples(settings)
