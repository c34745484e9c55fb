"""What the steps of a pruning run start from: the model analysed, and every setting decided that was left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx_ir as ir

from compressor.channels.plan import PruningPlan, demand_files
from compressor.config import AMOUNTS, PruneSettings
from compressor.config.contradictions import contradiction
from compressor.core.beside import beside
from compressor.core.clock import Clock
from compressor.data import Dataset, note_sizes
from compressor.errors import ModelError, UsageError
from compressor.evaluate.stand_in import given_samples_notes, tell_sizes
from compressor.graph.joined import ModelOrigin, joined_of
from compressor.graph.provenance import input_digest
from compressor.graph.restore_packed import is_packed
from compressor.pruning.analysis import Analysis, analyse
from compressor.pruning.apply import cut_of
from compressor.pruning.lossless import with_no_loss
from compressor.pruning.matching import demand_matches
from compressor.pruning.preparation import Original
from compressor.pruning.refusal import refusal
from compressor.pruning.select import demand_target
from compressor.results import ModelStats
from compressor.steps import counts, run_files
from compressor.steps.prune.choose import Means, reasons_given
from compressor.steps.prune.defaults import UNPACKED, made_up, with_resizing
from compressor.steps.prune.few_samples import with_samples
from compressor.steps.prune.objective import with_latency_target
from compressor.steps.prune.written_file import WrittenFile
from compressor.steps.run_samples import RunSamples, reads_samples
from compressor.steps.run_sizes import follow_batch
from compressor.steps.tokens import of_tokens


def settings_of_plan(settings: PruneSettings, plan: PruningPlan | None) -> PruneSettings:
    """The settings a run analyses with: a plan brings those that decide what hangs together."""
    if plan is None:
        return settings
    # JSON has lists only, and the settings hold tuples, which compare as unequal to lists.
    policy = {name: tuple(value) if isinstance(value, list) else value for name, value in plan.policy.items()}
    # Amounts go: the plan says what goes, and a target beside it would be aimed at as well. It goes at once, however
    # many steps led to it.
    return settings.model_copy(update={**dict.fromkeys(AMOUNTS), "lossless": False, "steps": 1, **policy})


@dataclass(frozen=True)
class PruneRequest:
    """What a run was given.

    Attributes:
        model: as it was read; several files joined.
        size: bytes on disk.
        file: where it was read from; None for a model in memory.
        settings: as they were asked for, with what a plan brings; they go into the file as provenance.
        plan: says what goes, where one is replayed.
        samples: the user's; None without any.
        digest: waits for what stands for the bytes of its files; None for a model in memory.
        spare: bytes that are kept free of a target, as an earlier try came out larger by so much.
    """

    model: ir.Model
    size: int
    file: Path | None
    settings: PruneSettings
    plan: PruningPlan | None
    samples: RunSamples | None
    digest: Callable[[], str | None]
    spare: int = 0

    @property
    def given(self) -> ModelOrigin:
        """Where it came from: a file, several of a joined model, or the model in memory."""
        return joined_of(self.model) or self.file or self.model

    def refused(self, settings: PruneSettings) -> ModelError | None:
        """What ONNX Runtime says of a model that does not run before anything is removed; None where it runs."""
        return refusal(self.given, self.model, settings)

    @staticmethod
    def of(model: str | Path | ir.Model, settings: PruneSettings, plan: PruningPlan | None) -> PruneRequest:
        """Opens what was given.

        Raises:
            CompressorError: the model or the data is not readable, or the plan is of other files or contradicts the
                settings.
        """
        source, size = run_files.open_source(model, settings, settings.also)
        # Wanted at the end only, and a second's work for some gigabytes.
        digest = beside(partial(input_digest, source, model))
        if plan is not None:
            demand_files(plan, run_files.file_names(source) or ["the model"])
        settings = with_no_loss(settings_of_plan(settings, plan))
        # Once more, as a plan brings settings of its own.
        if plan is not None and (said := contradiction(settings, replayed=True)) is not None:
            raise UsageError(said)
        # Unreadable data is said before anything is analysed.
        samples = RunSamples.of(settings, source) if settings.data is not None else None
        file = None if isinstance(model, ir.Model) else Path(model)
        return PruneRequest(source, size, file, settings, plan, samples, digest)


@dataclass(frozen=True)
class Settled:
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


def settled(request: PruneRequest, distrusted: Mapping[str, str], clock: Clock) -> Settled:
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
        demand_matches(request.settings, read.model, analysis)
        if request.plan is not None:
            cut_of(request.plan, analysis)  # a plan of another model is refused before samples are made up
        settings, samples, notes = _decided(request, read.model, analysis)
        before = _counted(request, read, analysis, settings)
        notes += _renumbered(read)
        if request.plan is None and _aims(settings):
            with reasons_given(analysis):
                again = analyse(read.model, settings, distrusted)
                means = Means(
                    settings, None, None, None, file=WrittenFile(request.settings, settings), params=before.params
                )
                demand_target(again.coupling, settings, request.size, lambda origin: means.at_present(origin, again))
    if samples is None:
        with clock.phase("samples"):
            samples, missing = made_up(settings, read.model, analysis, asked=request.settings.recover != "auto")
            notes += missing
        if samples is not None:
            tell_sizes(samples.train, clock)
    start = Settled(read, analysis, settings, before, tuple(notes), samples)
    if samples is None:
        return start
    # Of the user's alone, where made-up ones were added.
    return replace(start, notes=(*notes, *_fitted(start, samples, (request.samples or samples).train, clock)))


def _decided(
    request: PruneRequest, source: ir.Model, analysis: Analysis
) -> tuple[PruneSettings, RunSamples | None, list[str]]:
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


def _fitted(start: Settled, samples: RunSamples, given: Dataset, clock: Clock) -> list[str]:
    """Finds out how the model takes samples, and asks for labels where a layer is fitted to them; what is to be said
    of it."""
    with clock.phase("samples"):
        notes = list(given_samples_notes(start.analysis.model, given, start.settings))
        notes += follow_batch([start.source, start.analysis.model], samples.train, start.settings)
    if start.settings.refit_last:
        from compressor.steps.prune.refit import demand_labels

        demand_labels(start.source, samples.train)
    return notes


def _aims(settings: PruneSettings) -> bool:
    """Do channels have to meet a target, and is much done before it is known whether they can?"""
    return settings.aims and not settings.changes_layers and reads_samples(settings)
