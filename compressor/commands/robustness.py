"""Whether compressed models still do what their original does where inputs shift (Lost in Pruning, arXiv 2103.03014).

All models see the same noisy and corrupted inputs, batch by batch; of each sample a few numbers are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compressor.config.robustness import RobustnessSettings
from compressor.core.clock import Clock, Progress
from compressor.data import specs
from compressor.evaluate import pair
from compressor.evaluate.shift_plan import shift_plan
from compressor.evaluate.shift_rows import accuracy_rows, likeness_rows, model_rows, potential_rows
from compressor.evaluate.shift_runs import run_shifted
from compressor.evaluate.shift_samples import robustness_samples
from compressor.evaluate.shifts import input_statistics
from compressor.evaluate.stand_in import tell_preparation
from compressor.metrics.evaluator import Evaluator
from compressor.results.environment import environment
from compressor.results.robustness import RobustnessReport
from compressor.runtime import sessions
from compressor.steps import counts
from compressor.steps.refused_samples import samples_tried


def robustness(
    a: Path, others: Sequence[Path], settings: RobustnessSettings, progress: Progress | None = None
) -> RobustnessReport:
    """Holds the compressed models ``others`` against their original ``a``.

    Raises:
        UsageError: signatures differ, or the data does not fit the models.
        ModelError: a model is unsound, or does not run.
        ProviderUnavailable: the provider is missing or did not start.
    """
    clock, settings = Clock(progress), settings.told
    with clock.phase("load"):
        models = [pair.open_model(path) for path in (a, *others)]
        for other in models[1:]:
            pair.demand_comparable(models[0], other)
        rows = model_rows([counts.stats_of_file(opened, settings) for opened in models], settings.compression)
        samples = robustness_samples(models, settings)
        tell_preparation(samples.dataset, clock)
    with clock.phase("corruptions"):
        inputs = specs(models[0].model)
        ranges = input_statistics((batch.inputs for batch in samples.batches()), inputs)
        plan = shift_plan(inputs, ranges, settings)
    with clock.phase("run"), samples_tried(lambda: models[0].model, settings):
        runs = run_shifted(models, samples, plan, settings.provider, clock)
    with clock.phase("resample"):
        labels = [row.label for row in rows]
        likeness = likeness_rows(runs.tally, labels, settings.confidence, settings.seed)
        accuracy = accuracy_rows(runs.tally, labels, settings.confidence, settings.seed) if runs.scored else []
    # The first row is of the original on samples as they are.
    baseless = Evaluator().baseless(accuracy[0].accuracy.value, len(samples), samples.dataset) if accuracy else []
    return RobustnessReport(
        models=rows,
        inputs=plan.inputs,
        source=samples.source,
        samples=len(samples),
        available=samples.available,
        draws=settings.draws,
        confidence=settings.confidence,
        margin=settings.margin,
        compression=settings.compression,
        likeness=likeness,
        accuracy=accuracy,
        potential=potential_rows(accuracy, {row.label: row.saved for row in rows[1:]}, settings.margin),
        left_out=[*samples.left_out, *plan.left_out, *runs.left_out],
        seconds=clock.seconds,
        warnings=[*plan.warnings, *baseless],
        settings=settings.model_dump(mode="json"),
        environment=environment(sessions.device_name(settings.provider)),
    )
