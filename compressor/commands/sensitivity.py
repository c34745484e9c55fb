"""What each group of channels costs: every group pruned alone at several ratios, and how far the outputs move."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from compressor.config.sensitivity import SensitivitySettings
from compressor.core.atomic import write_text
from compressor.core.clock import Clock, Progress
from compressor.core.machine import cores
from compressor.core.scratch import scratch
from compressor.core.threads import blas_threads_for
from compressor.data.synthetic import Synthetic
from compressor.evaluate.stand_in import describe_samples, given_samples_notes, tell_preparation
from compressor.experiments.change import ReferenceOutputs, judging_samples, open_samples
from compressor.experiments.ledger import Ledger
from compressor.experiments.run import run_trials
from compressor.experiments.workers import workers_of
from compressor.graph.tensors.weights import weight_shapes
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.matching import demand_matches
from compressor.results.sensitivity import SensitivityReport, ledger_of
from compressor.steps import counts, run_files
from compressor.steps.refused_samples import samples_tried
from compressor.steps.sensitivity import cuts_of_groups, experiment_on, limits_of, prunable_rows


def sensitivity(
    source: Path,
    settings: SensitivitySettings,
    *,
    ledger: Path | None = None,
    clock: Clock | None = None,
    executor: Executor | None = None,
) -> SensitivityReport:
    """Prunes every group alone at every ratio, and measures what the outputs lose.

    Processes are started afresh, so a script calls this under ``if __name__ == "__main__":``, or with ``jobs=1``.

    Args:
        source: the model file; not changed.
        settings: ratios, criterion, samples, limits.
        ledger: file of finished measurements, read and appended to; they are made once.
        clock: receives the time of each phase.
        executor: measures, instead of processes or the cluster of the settings.

    Raises:
        CompressorError: one of :mod:`compressor.errors`, each with its exit code.
    """
    clock = clock or Clock()
    with clock.phase("load"):
        model, size = run_files.open_source(source, settings)
        samples = open_samples(model, settings)
        tell_preparation(samples, clock)
        limits = limits_of(settings, judged := judging_samples(model, settings) or samples)
        known = Ledger(ledger)
    with clock.phase("analyse"):
        analysis = analyse(model, settings)
        demand_matches(settings, model, analysis)
        before = counts.stats_of(model, analysis, size, source)
    with scratch() as folder, blas_threads_for(weight_shapes(model)):
        with clock.phase("reference"), samples_tried(lambda: model, settings):
            reference = ReferenceOutputs.make(model, judged, settings, Path(folder), limits)
        with clock.phase("choose"), samples_tried(lambda: model, settings):
            cuts = cuts_of_groups(analysis, settings, size, samples)
        with clock.phase("measure"):
            experiment, trials = experiment_on(source, settings, reference), [cut.trial() for cut in cuts]
            remembered = sum(experiment.key(trial) in known for trial in trials)
            with workers_of(settings, executor) as workers:
                changes = run_trials(experiment, trials, known, workers, clock.tell)
    return SensitivityReport(
        input=before,
        groups=prunable_rows(cuts, changes, limits, reference.accuracy),
        accuracy=reference.accuracy,
        metric=reference.evaluator.name,
        share=reference.evaluator.share,
        samples=reference.samples,
        available=None if isinstance(judged, Synthetic) else len(judged),
        synthetic=describe_samples(judged) if isinstance(judged, Synthetic) else None,
        limit=str(limits),
        measured=len(trials) - remembered,
        remembered=remembered,
        jobs=min(settings.jobs or cores(), max(1, len(trials) - remembered)),
        seconds=clock.seconds,
        settings=settings.model_dump(mode="json"),
        warnings=[*given_samples_notes(analysis.model, judged, settings), *reference.baseless(judged)],
    )


def sensitivity_file(
    source: Path, output: Path, settings: SensitivitySettings, progress: Progress | None = None
) -> SensitivityReport:
    """:func:`sensitivity` that writes its report to ``output``, and every measurement to ``output`` + ``l`` at once.

    A run that was interrupted goes on where it was.
    """
    report = sensitivity(source, settings, ledger=ledger_of(output), clock=Clock(progress))
    write_text(output, report.to_json())
    return report
