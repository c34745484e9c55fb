"""Latency of one model, or of two in turns: how much faster is B, and can the number be believed?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressor.config import BenchSettings, RunSettings
from compressor.core.clock import Clock, Progress
from compressor.errors import GateMissed, ModelError, UsageError
from compressor.evaluate import pair
from compressor.evaluate.pair import Opened
from compressor.evaluate.statistics import relative_iqr, speed_up
from compressor.graph import files
from compressor.results.bench import BenchReport, BenchRun, LatencyStats, NodeTimeRow, OperatorTime, SpeedUpResult
from compressor.results.detail import LatencyResult
from compressor.results.environment import environment
from compressor.steps import account

if TYPE_CHECKING:
    from compressor.graph.evaluate import Array
    from compressor.results.records import ModelStats
    from compressor.runtime.latency import TimedModel, TimedRuns
    from compressor.runtime.memory import Footprint
    from compressor.runtime.profile import NodeTime

NOISY_SPREAD = 0.10
"""Interquartile range of the runs, as a share of the median, from which the machine is called noisy."""
NOISY_INTERVAL = 0.10
"""Half the width of the speed-up's interval from which the machine is called noisy."""


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
        _demand_gates_fit(settings, models)
        stats = [_stats(opened, settings) for opened in models]
    runs, warnings = [], _open_sizes(models[0], settings)
    for batch in settings.batch or (1,):
        run, notes = _run(models, settings, batch, clock)
        runs.append(run)
        warnings += [note for note in notes if note not in warnings]
    return _report(settings, stats, runs, warnings, clock)


def demand_speed(report: BenchReport, settings: BenchSettings) -> None:
    """Raises GateMissed where a limit is missed at some batch size; medians count."""
    for run in report.runs:
        where = f" at batch {run.batch_size}" if run.batch_size else ""
        found = run.speed_up
        if settings.min_speedup is not None and found is not None and found.value < settings.min_speedup:
            raise GateMissed(
                f"B is {found.value:.3g} times as fast as A{where} ({found.level:.0%} interval {found.low:.3g} to "
                f"{found.high:.3g}), --min-speedup asks for {settings.min_speedup:g}"
            )
        last = run.b or run.a
        if settings.max_latency is not None and last.median_latency_ms > settings.max_latency:
            raise GateMissed(
                f"a run takes {last.median_latency_ms:.3g} ms{where} by the median, --max-latency allows "
                f"{settings.max_latency:g} ms"
            )


def beside(source: Path, output: Path, settings: RunSettings) -> LatencyResult | None:
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


def _demand_gates_fit(settings: BenchSettings, models: list[Opened]) -> None:
    if settings.min_speedup is not None and len(models) == 1:
        raise UsageError("a speed-up needs two models; name B, or drop --min-speedup")


def _stats(opened: Opened, settings: BenchSettings) -> ModelStats:
    found = account.stats_in_memory(opened.model, settings, files.size_on_disk(opened.path))
    return found.model_copy(update={"path": str(opened.path)})


def _open_sizes(model: Opened, settings: BenchSettings) -> list[str]:
    """A warning for dimensions besides the batch whose size was made up: latency depends on them."""
    made_up = pair.open_symbols(model, settings) - pair.batch_symbols(model, settings)
    if not made_up:
        return []
    names = ", ".join(sorted(made_up))
    return [f"the model leaves {names} open and sizes were made up; give those you deploy with --dim or --input-shape"]


def _run(models: list[Opened], settings: BenchSettings, batch: int, clock: Clock) -> tuple[BenchRun, list[str]]:
    """One batch size: seeded inputs, timings, memory, profile."""
    from compressor.runtime import latency, sessions

    with clock.phase("load"):
        inputs, size = _inputs(models, settings, batch)
    # Where two models take turns, spinning threads of one session would slow the other one down.
    setup = sessions.Setup(threads=settings.threads, cuda_graph=settings.cuda_graph, polite=len(models) > 1)
    subjects = [
        latency.TimedModel(m.path, settings.provider, pair.cast(inputs, m), setup, settings.io_binding) for m in models
    ]
    with clock.phase("time"):
        timing = latency.Timing(
            settings.runs,
            settings.seconds,
            settings.max_seconds,
            settings.warmup_runs,
            settings.warmup_seconds,
            settings.rounds,
            settings.seed,
        )
        series = latency.time_in_turns(subjects, timing)
    # After the timings, which nothing else is to disturb.
    with clock.phase("memory"):
        taken, failed = _footprints(subjects if settings.memory else [], len(subjects))
    columns = [_column(s, f, size) for s, f in zip(series, taken, strict=True)]
    found = _speed_up(series, settings)
    run = BenchRun(
        batch_size=size,
        inputs={name: list(array.shape) for name, array in inputs.items()},
        rounds=len(series[0].seconds),
        a=columns[0],
        b=columns[1] if len(columns) > 1 else None,
        speed_up=found,
        noisy=_noisy(columns, found),
    )
    notes = [*_notes(run, settings), *failed]
    if settings.profile:
        with clock.phase("profile"):
            run, extra = _profiled(run, subjects)
            notes += extra
    return run, notes


def _inputs(models: list[Opened], settings: BenchSettings, batch: int) -> tuple[dict[str, Array], int | None]:
    """Seeded inputs at that batch size, which every model takes; and the batch size that they have."""
    first = models[0]
    # A size that one model fixes holds for both, as they are run on the same inputs.
    dims = dict.fromkeys(pair.batch_symbols(first, settings), batch)
    for other in models[1:]:
        fixed = pair.fixed_by(other, first)
        for name, only in fixed.items():
            if dims.get(name, only) != only:
                raise UsageError(f"{other.path} fixes {name!r} to {only}, --batch asks for {batch}; ask for {only}")
        dims |= fixed
    inputs = pair.seeded(first, pair.bind(first, settings, dims), settings.seed)
    sizes = {array.shape[0] for array in inputs.values() if array.ndim}
    size: int | None = sizes.pop() if len(sizes) == 1 else None
    # Whoever gives whole shapes has said the batch size there.
    asked = settings.batch and not settings.input_shapes
    if asked and not dims and size not in (None, batch):
        raise UsageError(f"the model fixes its batch to {size}, --batch asks for {batch}; drop it, or export it open")
    return inputs, size


def _footprints(subjects: list[TimedModel], count: int) -> tuple[list[Footprint | None], list[str]]:
    """Memory of each model, None where it was not measured; a failure is a warning, because the timings stand."""
    from compressor.runtime.memory import footprint

    found: list[Footprint | None] = [None] * count
    notes = []
    for index, subject in enumerate(subjects):
        try:
            found[index] = footprint(subject.path, subject.provider, subject.feeds, subject.setup)
        except ModelError as error:
            notes.append(f"{subject.path}: memory was not measured: {error}")
    return found, notes


def _column(series: TimedRuns, taken: Footprint | None, batch: int | None) -> LatencyStats:
    """The numbers of one model."""
    seconds = np.concatenate(series.seconds)
    milliseconds = 1000 * seconds
    p90, p95, p99 = (float(q) for q in np.percentile(milliseconds, [90, 95, 99]))
    mean = float(milliseconds.mean())
    return LatencyStats(
        test_times=len(seconds),
        average_latency_ms=mean,
        # As ONNX Runtime's benchmarks report it: seconds squared, times 1000.
        latency_variance=float(seconds.var()) * 1000,
        latency_90_percentile=p90,
        latency_95_percentile=p95,
        latency_99_percentile=p99,
        QPS=(batch or 1) * 1000 / mean,
        median_latency_ms=float(np.median(milliseconds)),
        min_latency_ms=float(milliseconds.min()),
        max_latency_ms=float(milliseconds.max()),
        spread=relative_iqr(seconds),
        load_ms=1000 * float(np.median(series.load_seconds)),
        first_load_ms=1000 * series.load_seconds[0],
        peak_memory=taken.peak if taken else None,
        settled_memory=taken.settled if taken else None,
        device_memory=taken.device if taken else None,
        nodes=series.placement,
    )


def _speed_up(series: list[TimedRuns], settings: BenchSettings) -> SpeedUpResult | None:
    if len(series) < 2:
        return None
    found = speed_up(series[0].seconds, series[1].seconds, settings.confidence, settings.seed)
    return SpeedUpResult(value=found.value, low=found.low, high=found.high, level=found.level, block=found.block)


def _noisy(columns: list[LatencyStats], found: SpeedUpResult | None) -> bool:
    # The interval is symmetric as a ratio, hence the square.
    wide = found is not None and found.high / found.low > (1 + NOISY_INTERVAL) ** 2
    return wide or any(c.spread > NOISY_SPREAD for c in columns)


def _notes(run: BenchRun, settings: BenchSettings) -> list[str]:
    notes = []
    if run.noisy:
        worst = max(c.spread for c in (run.a, run.b) if c is not None)
        where = f" at batch {run.batch_size}" if run.batch_size else ""
        notes.append(
            f"the machine was noisy{where}: half of the runs spread over {worst:.0%} of the median; stop what else "
            "runs, or measure longer with --runs and --rounds"
        )
    if run.a.test_times < settings.runs:
        notes.append(
            f"only {run.a.test_times} runs were timed in {settings.max_seconds:g} s; --max-seconds allows more"
        )
    # The gate goes by the value; that it is a close call is worth a note.
    found, least = run.speed_up, settings.min_speedup
    if found is not None and least is not None and found.low < least < found.high:
        between = f"{found.low:.3g} to {found.high:.3g}"
        notes.append(f"the interval {between} holds the limit {least:g}: another run may fall on the other side")
    return notes


def _profiled(run: BenchRun, subjects: list[TimedModel]) -> tuple[BenchRun, list[str]]:
    from compressor.runtime.profile import profile

    # In sessions of their own, as profiling slows a run down and would spoil the timings.
    found = [profile(s.path, s.provider, s.feeds, s.setup) for s in subjects]
    sides = [one.nodes for one in found]
    accelerated = subjects[0].provider != "cpu" and not all(one.kernels for one in found)
    notes = ["the profile holds the time to launch kernels, not that of the kernels"] if accelerated else []
    return run.model_copy(update={"operators": _operators(sides), "nodes": _nodes(sides)}), notes


def _operators(sides: list[list[NodeTime]]) -> list[OperatorTime]:
    """Time by operator type, most first."""
    totals: list[dict[str, float]] = [defaultdict(float) for _ in sides]
    counts: list[dict[str, int]] = [defaultdict(int) for _ in sides]
    for nodes, total, number in zip(sides, totals, counts, strict=True):
        for node in nodes:
            total[node.op_type] += node.milliseconds
            number[node.op_type] += 1
    both = len(sides) > 1
    rows = [
        OperatorTime(
            op_type=op,
            count_a=counts[0].get(op, 0),
            count_b=counts[1].get(op, 0) if both else None,
            ms_a=totals[0].get(op, 0.0),
            ms_b=totals[1].get(op, 0.0) if both else None,
        )
        for op in dict.fromkeys(op for total in totals for op in total)
    ]
    return sorted(rows, key=lambda row: -max(row.ms_a, row.ms_b or 0.0))


def _nodes(sides: list[list[NodeTime]]) -> list[NodeTimeRow]:
    """Time by node, in the order of A; what only B has comes last."""
    times: list[Mapping[tuple[str, str], float]] = [_by_name(nodes) for nodes in sides]
    # Reversed, so that where both models have a node the provider of A stays.
    providers = {(n.name, n.op_type): n.provider for nodes in reversed(sides) for n in nodes}
    return [
        NodeTimeRow(
            name=key[0],
            op_type=key[1],
            provider=providers[key],
            ms_a=times[0].get(key),
            ms_b=times[1].get(key) if len(times) > 1 else None,
        )
        for key in dict.fromkeys(key for found in times for key in found)
    ]


def _by_name(nodes: list[NodeTime]) -> dict[tuple[str, str], float]:
    """Milliseconds by (name, operator); nodes of one name add up."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for node in nodes:
        found[node.name, node.op_type] += node.milliseconds
    return dict(found)


def _report(
    settings: BenchSettings, stats: list[ModelStats], runs: list[BenchRun], warnings: list[str], clock: Clock
) -> BenchReport:
    from compressor.runtime import latency, sessions

    provider = sessions.full_name(settings.provider)
    return BenchReport(
        providers=provider,
        io_binding=settings.io_binding and provider in latency.DEVICES,
        cuda_graph=settings.cuda_graph,
        threads=settings.threads,
        a=stats[0],
        b=stats[1] if len(stats) > 1 else None,
        runs=runs,
        seconds=clock.seconds,
        warnings=warnings,
        settings=settings.model_dump(mode="json"),
        environment=environment(sessions.device_name(provider)),
    )
