"""The whole flow of a pruning run: load, analyse, choose, cut, prove, write, report.

What happens in one step (choose, train towards the choice, cut, recover, prove) is ``PruningRun.step`` in
``steps/run.py``, of which there are several with ``--steps``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import onnx_ir as ir

from compressor.channels.plan import PruningPlan, demand_files
from compressor.config import PruneSettings
from compressor.core.atomic import write_text
from compressor.core.clock import Clock, Progress
from compressor.core.scratch import scratch
from compressor.errors import PlanError, ProofFailed, RuleFault, UsageError
from compressor.graph import files
from compressor.graph.joined import joined_of, split
from compressor.graph.model_result import ModelResult
from compressor.graph.outline import keep_functions
from compressor.graph.provenance import stamp_provenance
from compressor.graph.restore_packed import is_packed
from compressor.metrics.evaluator import evaluator_for
from compressor.pruning import proof
from compressor.pruning.analysis import analyse, believing
from compressor.pruning.lossless import exact
from compressor.pruning.matching import demand_matches
from compressor.pruning.proof import Evidence
from compressor.pruning.refusal import refusal
from compressor.results import Report
from compressor.steps import account
from compressor.steps.checkpoints import checkpoint_beside
from compressor.steps.contradictions import demand_together
from compressor.steps.defaults import UNPACKED, heavier, made_up, resized, resolve_defaults
from compressor.steps.gates import unresolved
from compressor.steps.objective import by_time, dearer
from compressor.steps.provenance import pruning_facts
from compressor.steps.recover import Recovery
from compressor.steps.run import PruningRun
from compressor.steps.run_samples import RunSamples
from compressor.steps.run_sizes import follow_batch
from compressor.steps.step import means_of
from compressor.steps.tokens import of_tokens, write_mapping


@dataclass(repr=False)
class PruneResult(ModelResult):
    """What a pruning run made: the smaller model, the plan that leads to it, and the report.

    The plan is None where several steps cannot be replayed as one. ``proved`` is what was proved of the smaller
    model as it is. ``tokens`` are the old numbers of those that were kept, in the new order; None where all were. With
    ``also``, ``model`` is all files joined; :attr:`models` are they.
    """

    model: ir.Model
    plan: PruningPlan | None
    report: Report
    proved: Evidence | None = None
    tokens: tuple[int, ...] | None = None

    @property
    def models(self) -> list[ir.Model]:
        """The smaller model by files: one, or the first and those of ``also``."""
        return split(self.model)

    def save(self, path: str | os.PathLike[str]) -> int:
        """As :meth:`ModelResult.save`; further files of the model go beside the first, all of them or none."""
        return files.save_models(account.places(self.model, Path(path)))

    def headline(self) -> list[tuple[str, str]]:
        """That of the report."""
        return self.report.headline()


def prune(
    model: str | Path | ir.Model,
    settings: PruneSettings,
    *,
    plan: PruningPlan | None = None,
    clock: Clock | None = None,
) -> PruneResult:
    """Removes channels from ``model`` and proves that removal equals masking.

    Args:
        model: a path, or a model in memory (not changed).
        settings: how much, which, and how it is proved.
        plan: replays this plan instead of choosing.
        clock: receives the time of each phase.

    Raises:
        CompressorError: one of :mod:`compressor.errors`, each with its exit code.
    """
    clock = clock or Clock()
    # Said before any work: made-up samples would be drawn first, and their failure is no error where nobody asked.
    demand_together(settings)
    if plan is not None and settings.rewind is not None:
        raise UsageError("a plan already says what goes, which --rewind trains to find out; leave one of them out")
    if settings.data is None and settings.val_data is None:
        evaluator_for(settings, None, settings.max_drop)
    # The whole run starts over, since a distrusted node may change every choice before the one that failed.
    try:
        return believing(lambda distrusted: _prune(model, settings, plan, clock, distrusted))
    except (ProofFailed, RuleFault):
        source = account.open_source(model, settings, settings.also)[0]
        file = None if isinstance(model, ir.Model) else Path(model)
        if (refused := refusal(joined_of(source) or file or source, source, settings)) is not None:
            raise refused from None
        raise


def _prune(
    model: str | Path | ir.Model,
    settings: PruneSettings,
    plan: PruningPlan | None,
    clock: Clock,
    distrusted: Mapping[str, str],
) -> PruneResult:
    """:func:`prune` without the rules of the nodes that are ``distrusted``."""
    file = None if isinstance(model, ir.Model) else Path(model)
    with clock.phase("load"):
        source, size = account.open_source(model, settings, settings.also)
        if plan is not None:
            demand_files(plan, account.file_names(source) or ["the model"])
        # ``given`` goes into the file as provenance: what was asked for, not what it came to.
        given = settings = exact(account.settings_of_plan(settings, plan))
        # Unreadable data is said before anything is analysed.
        samples = RunSamples.of(settings, source) if settings.data is not None else None
    with clock.phase("analyse"):
        original, read = source, joined_of(source) or file or source
        fewer = of_tokens(source, settings)
        if fewer is not None:
            source, read = fewer.model, fewer.reference
        found = analyse(source, settings, distrusted)
        demand_matches(settings, source, found.model)
        prepared = found.model
        # Needs the analysed model, as it counts what a recovery would take.
        settings, notes = resized(settings)
        settings, more = resolve_defaults(settings, found, available=None if samples is None else len(samples.train))
        notes += [*more, *([UNPACKED] if is_packed(source) else [])]
        settings = settings if plan is not None else by_time(settings, found, size)
        before = account.stats_of(source, found, size, file)
        if fewer is not None:
            # Shares are of the model as it was given, which has another vocabulary.
            before = account.stats_in_memory(original, settings, size).model_copy(update={"path": before.path})
    if samples is None:
        with clock.phase("samples"):
            samples = made_up(settings, source, found, notes, asked=given.recover != "auto")
    if samples is not None:
        with clock.phase("samples"):
            notes += follow_batch([source, found.model], samples.train, settings)
    recovery = Recovery(source, settings, samples, clock)
    means = means_of(source, settings, samples, clock)
    run = PruningRun(settings, plan, distrusted, size, means, recovery, clock)
    found = run.all_steps(found, read)
    # Once for all steps, on what will be written.
    proof.same_signature(source, run.model, found.coupling.policy.free)
    kept = run.single_plan(source)
    report = account.told_apart(recovery.added_to(run.report(found, before, notes)), original)
    if settings.keep_functions:
        # Against the graph before any step; what is written is proved once more, with its functions.
        notes = keep_functions(run.model, prepared, original)
        report = report.model_copy(update={"warnings": [*report.warnings, *notes]})
    stamp_provenance(run.model, "prune", given, file, pruning_facts(report, kept))
    return PruneResult(run.model, kept, report, run.still_proved(), None if fewer is None else fewer.tokens)


def prune_file(
    source: Path,
    output: Path | None,
    settings: PruneSettings,
    *,
    plan: Path | None = None,
    plan_out: Path | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """:func:`prune` from file to file; sizes in the report are read back from the written file.

    Without ``output`` everything is done but writing the model. Training leaves a checkpoint beside the output,
    which is removed when the run ends well.
    """
    clock = Clock(progress)
    with checkpoint_beside(output, settings) as resumable:
        result = prune(source, resumable, plan=PruningPlan.load(plan) if plan else None, clock=clock)
        # Before the model is written, so that a failed run leaves no file behind.
        if plan_out is not None and result.plan is None:
            reason = "a plan holds channels alone" if result.report.changed else "these steps are no single plan"
            raise PlanError(f"{reason}; leave --plan-out out, or prune with --steps 1 and --structure channels")
        with clock.phase("write"):
            stats = account.put_in_place(result.model, output, settings, result.proved)
            if plan_out is not None and result.plan is not None:
                write_text(plan_out, result.plan.to_json())
            if result.tokens is not None and output is not None:
                write_mapping(output, result.tokens)
    report = result.report
    # After the file is in place: curves are extra, and an error in them must not cost the result.
    if settings.robustness:
        from compressor.commands.robustness_curves import stressed

        with clock.phase("stress"), in_one_file(source, settings) as whole:
            curves, warnings = stressed(whole, result.model, settings)
        report = report.model_copy(
            update={"curves": [*report.curves, *curves], "warnings": [*report.warnings, *warnings]}
        )
    report = report.model_copy(update={"output": stats, "seconds": clock.seconds})
    more = [*unresolved(report, settings), *heavier(report), *dearer(report)]
    result.report = report.model_copy(update={"warnings": [*report.warnings, *more]})
    return result


@contextmanager
def in_one_file(source: Path, settings: PruneSettings) -> Iterator[Path]:
    """The file of the original; of a model of several files, one that holds them all, for as long as this is open."""
    if not settings.also:
        yield source
        return
    with scratch() as folder:
        files.save_model(account.open_source(source, settings, settings.also)[0], folder / source.name)
        yield folder / source.name


def report_file(source: Path, result: PruneResult, settings: PruneSettings, path: Path) -> None:
    """Writes what a run on ``source`` did as one HTML file; raises UsageError where it cannot."""
    from compressor.evaluate.profile import detailed
    from compressor.render.html import write_html

    with in_one_file(source, settings) as whole:
        report = detailed(result.report, whole, result.model, settings)
    plan = None if result.plan is None else result.plan.to_json()
    write_html(report, path, plan=plan, created=datetime.now().astimezone())
