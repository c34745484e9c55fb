"""How long models take at one batch size: timed in turns on the same inputs, with memory and time by node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.config import BenchSettings
from compressor.core.arrays import Array
from compressor.core.clock import Clock
from compressor.errors import ModelError, UsageError
from compressor.evaluate import pair
from compressor.evaluate.node_times import node_times, operator_times
from compressor.evaluate.pair import Opened
from compressor.evaluate.statistics import relative_iqr, speed_up
from compressor.results.bench import BenchRun, LatencyStats, SpeedUpResult
from compressor.runtime import latency, sessions
from compressor.runtime.latency import TimedModel, TimedRuns
from compressor.runtime.memory import Footprint, footprint
from compressor.runtime.profile import profile

NOISY_SPREAD = 0.10
"""Interquartile range of the runs, as a share of the median, from which the machine is called noisy."""
NOISY_INTERVAL = 0.10
"""Half the width of the speed-up's interval from which the machine is called noisy."""


def timed_run(
    models: Sequence[Opened], settings: BenchSettings, batch: int, clock: Clock
) -> tuple[BenchRun, list[str]]:
    """One batch size: seeded inputs, timings, memory, profile; and what the user should know of them.

    Raises:
        UsageError: the models do not take that batch size.
        ModelError: a model does not run.
        ProviderUnavailable: the provider is missing, did not start, or took no node.
    """
    with clock.phase("load"):
        inputs, size = _inputs(models, settings, batch)
    # Where two models take turns, spinning threads of one session would slow the other one down.
    setup = sessions.Setup(
        threads=settings.threads, cuda_graph=settings.cuda_graph, polite=len(models) > 1, guarded=False
    )
    subjects = [
        latency.TimedModel(m.runs, settings.provider, pair.cast(inputs, m), setup, settings.io_binding) for m in models
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
    speed_up = _speed_up(series, settings)
    run = BenchRun(
        batch_size=size,
        inputs={name: list(array.shape) for name, array in inputs.items()},
        rounds=len(series[0].seconds),
        a=columns[0],
        b=columns[1] if len(columns) > 1 else None,
        speed_up=speed_up,
        noisy=_noisy(columns, speed_up),
    )
    notes = [*_notes(run, settings), *failed]
    if settings.profile:
        with clock.phase("profile"):
            run, extra = _profiled(run, subjects)
            notes += extra
    return run, notes


def _inputs(models: Sequence[Opened], settings: BenchSettings, batch: int) -> tuple[dict[str, Array], int | None]:
    """Seeded inputs at that batch size, which every model takes; and the batch size that they have."""
    first = models[0]
    # A size that one model fixes holds for both, as they are run on the same inputs.
    dims = dict.fromkeys(pair.batch_symbols(first, settings), batch)
    for other in models[1:]:
        fixed = pair.fixed_by(other, first)
        for name, only in fixed.items():
            if dims.get(name, only) == only:
                continue
            if not settings.batch:
                batch = only  # nobody asked for a size, so that the only one that both take is it
                dims = dict.fromkeys(dims, batch)
            else:
                raise UsageError(f"{other.path} fixes {name!r} to {only}, --batch asks for {batch}; ask for {only}")
        dims |= fixed
    dims = {**pair.usual_sizes(first, settings, dims), **dims}
    inputs = pair.seeded(first, pair.bind(first, settings, dims), settings.seed)
    # Whoever gives whole shapes has said the batch size there.
    asked = settings.batch and not settings.input_shapes and not dims
    return inputs, pair.batch_of(inputs, batch if asked else None)


def _footprints(subjects: list[TimedModel], count: int) -> tuple[list[Footprint | None], list[str]]:
    """Memory of each model, None where it was not measured; a failure is a warning, because the timings stand."""
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
    # In sessions of their own, as profiling slows a run down and would spoil the timings.
    found = [profile(s.path, s.provider, s.feeds, s.setup) for s in subjects]
    sides = [one.nodes for one in found]
    accelerated = subjects[0].provider != "cpu" and not all(one.kernels for one in found)
    notes = ["the profile holds the time to launch kernels, not that of the kernels"] if accelerated else []
    return run.model_copy(update={"operators": operator_times(sides), "nodes": node_times(sides)}), notes
