"""Latency of one model, or of two in turns: how much faster is B, and can the number be believed?"""

from __future__ import annotations

from pathlib import Path

from compressor.config import BenchSettings, RunSettings
from compressor.core.clock import Clock, Progress
from compressor.errors import GateMissed, UsageError
from compressor.evaluate import pair
from compressor.evaluate.timings import timed_run
from compressor.results.bench import BenchReport, BenchRun, SpeedUpResult
from compressor.results.detail import LatencyResult
from compressor.results.environment import environment
from compressor.results.records import GateRow
from compressor.runtime import latency, sessions
from compressor.steps import counts


def bench(a: Path, b: Path | None, settings: BenchSettings, progress: Progress | None = None) -> BenchReport:
    """Times ``a``, or ``a`` and ``b`` in turns, at every batch size asked for.

    Raises:
        UsageError: the inputs of the models differ, a batch size does not fit, CUDA graphs without CUDA.
        ModelError: a model is unsound, or does not run.
        ProviderUnavailable: the provider is missing, did not start, or took no node.
    """
    clock = Clock(progress)
    with clock.phase("load"):
        models = [pair.open_model(path) for path in (a, b) if path is not None]
        # Before anything is timed: both models get the same arrays.
        for other in models[1:]:
            pair.demand_same_inputs(models[0], other)
        if settings.min_speedup is not None and len(models) == 1:
            raise UsageError("a speed-up needs two models; name B, or drop --min-speedup")
        stats = [counts.stats_of_file(opened, settings) for opened in models]
        open_sizes = pair.open_sizes_warning(models[0], settings)
    runs = [timed_run(models, settings, batch, clock) for batch in settings.batch or (1,)]
    provider = sessions.full_name(settings.provider)
    report = BenchReport(
        providers=provider,
        io_binding=settings.io_binding and provider in latency.DEVICES,
        cuda_graph=settings.cuda_graph,
        threads=settings.threads,
        a=stats[0],
        b=stats[1] if len(stats) > 1 else None,
        runs=[run for run, _ in runs],
        seconds=clock.seconds,
        # Several batch sizes may have the same to say.
        warnings=list(dict.fromkeys([*open_sizes, *(note for _, notes in runs for note in notes)])),
        settings=settings.model_dump(mode="json"),
        environment=environment(sessions.device_name(provider)),
    )
    return report.model_copy(update={"gates": speed_rows(report, settings)})


def speed_rows(report: BenchReport, settings: BenchSettings, a: str = "A", b: str = "B") -> list[GateRow]:
    """A row for each limit on time, of the batch size that is nearest to missing it; medians count.

    ``a`` and ``b`` are what the models are called where the reader has not named them.
    """
    rows = []
    if settings.min_speedup is not None:
        slowest = min((r for r in report.runs if r.speed_up is not None), key=lambda r: _faster(r).value, default=None)
        rows.append(_speed_row(slowest, settings.min_speedup, a, b))
    if settings.max_latency is not None:
        rows.append(_latency_row(max(report.runs, key=_median), settings.max_latency))
    return rows


def _speed_row(run: BenchRun | None, limit: float, a: str, b: str) -> GateRow:
    if run is None:
        return GateRow(name="min_speedup", limit=limit, measured=None, share=False)
    found = _faster(run)
    clause = (
        f"{b} is {found.value:.3g} times as fast as {a}{_where(run)} ({found.level:.0%} interval {found.low:.3g} "
        f"to {found.high:.3g}), --min-speedup asks for {limit:g}"
    )
    missed, of = clause if found.value < limit else "", f"{b} over {a}{_where(run)}"
    return GateRow(name="min_speedup", limit=limit, measured=found.value, of=of, share=False, missed=missed)


def _latency_row(run: BenchRun, limit: float) -> GateRow:
    took = _median(run)
    clause = f"a run takes {took:.3g} ms{_where(run)} by the median, --max-latency allows {limit:g} ms"
    missed, of = clause if took > limit else "", f"median{_where(run)}"
    return GateRow(name="max_latency", limit=limit, measured=took, of=of, share=False, missed=missed)


def _faster(run: BenchRun) -> SpeedUpResult:
    assert run.speed_up is not None
    return run.speed_up


def _median(run: BenchRun) -> float:
    """Milliseconds of one run of the last model."""
    return (run.b or run.a).median_latency_ms


def _where(run: BenchRun) -> str:
    return f" at batch {run.batch_size}" if run.batch_size else ""


def demand_speed(report: BenchReport, settings: BenchSettings) -> None:
    """Raises GateMissed where a limit is missed at some batch size."""
    clauses = [row.missed for row in speed_rows(report, settings) if row.missed]
    if clauses:
        raise GateMissed("; ".join(clauses))


def timed_beside(source: Path, output: Path, settings: RunSettings) -> LatencyResult | None:
    """How much faster a written model is than the one that it was made from, at the sizes of the run's settings.

    Raises:
        CompressorError: as :func:`bench`.
    """
    shared = settings.model_dump(include={*RunSettings.model_fields})
    return summary(bench(source, output, BenchSettings.model_validate({**shared, "memory": False})))


def summary(report: BenchReport) -> LatencyResult | None:
    """The first batch size in the form that the report of a pruning run holds; None where one model was measured."""
    run = report.runs[0]
    if run.b is None or run.speed_up is None:
        return None
    return LatencyResult(
        before_ms=run.a.median_latency_ms,
        after_ms=run.b.median_latency_ms,
        low=run.speed_up.low,
        high=run.speed_up.high,
        level=run.speed_up.level,
        provider=report.providers,
        device=report.environment.device,
        batch=run.batch_size,
    )
