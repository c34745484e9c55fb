"""Time of single runs of one or two models, measured in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from compressor.core.arrays import Array
from compressor.errors import UsageError
from compressor.runtime import sessions, values
from compressor.runtime.library import ort
from compressor.runtime.sessions import Setup

DEVICES = MappingProxyType(
    {
        sessions.CUDA: "cuda",
        sessions.TENSORRT: "cuda",
        "NvTensorRTRTXExecutionProvider": "cuda",
        "MIGraphXExecutionProvider": "cuda",
        "DmlExecutionProvider": "dml",
    }
)
"""Memory in which a provider wants inputs and outputs; the others take them from the host's."""
FEWEST_ROUNDS = 3
"""Rounds that even a slow model gets, so that it can be seen how far they lie apart."""
SLICE = 1 << 20
"""Bound on the runs of one round, so that a broken clock cannot hold the loop."""


@dataclass(frozen=True)
class Timing:
    """How long to measure.

    Attributes:
        runs: timed runs of each model, at least, over all rounds.
        seconds: time of the timed runs together, at least.
        max_seconds: time after which no pair is started.
        warmup_runs, warmup_seconds: runs of each model before the clock counts, both at least, in every round.
        rounds: how often the models are loaded anew.
        seed: of the order within the pairs.
    """

    runs: int
    seconds: float
    max_seconds: float
    warmup_runs: int
    warmup_seconds: float
    rounds: int
    seed: int


@dataclass(frozen=True)
class TimedModel:
    """A model to be timed: its file, where and how it runs, and what it is fed."""

    path: Path
    provider: str
    feeds: Mapping[str, Array]
    setup: Setup
    io_binding: bool = True


@dataclass
class TimedRuns:
    """What was measured of one model.

    Attributes:
        seconds: time of each run, float64[pairs of the round], for every round.
        load_seconds: time until the session was ready, for every round; the first one reads the file from disk.
        placement: nodes by provider.
    """

    seconds: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = field(default_factory=list)
    load_seconds: list[float] = field(default_factory=list)
    placement: dict[str, int] = field(default_factory=dict)


class Runner:
    """A session whose runs can be timed: inputs and outputs lie where the provider wants them."""

    def __init__(self, subject: TimedModel) -> None:
        begin = time.perf_counter()
        self._session = sessions.start_session(subject.path, subject.provider, replace(subject.setup, placement=True))
        self.load_seconds = time.perf_counter() - begin
        self.placement = sessions.placement(self._session)
        sessions.demand_active(self._session, subject.provider)
        wanted = {i.name for i in self._session.get_inputs()}
        # A pruned or simplified model may have lost an input.
        feeds = {name: array for name, array in subject.feeds.items() if name in wanted}
        device = DEVICES.get(sessions.full_name(subject.provider)) if subject.io_binding else None
        if subject.setup.cuda_graph and device != "cuda":
            raise UsageError("CUDA graphs need a CUDA provider and I/O binding; drop --cuda-graph")
        expected = (
            sessions.run_session(self._session, feeds) if not subject.setup.cuda_graph else _outputs(subject, feeds)
        )
        self._call = self._bound(feeds, device, expected) if device else self._plain(feeds)

    def once(self) -> float:
        """Seconds of one run, from the call until the outputs are there.

        Raises:
            ModelError: the run fails.
        """
        begin = time.perf_counter_ns()
        self._call()
        return (time.perf_counter_ns() - begin) * 1e-9

    def _plain(self, feeds: dict[str, Array]) -> Callable[[], object]:
        return values.caller(self._session, feeds)

    def _bound(self, feeds: dict[str, Array], device: str, expected: list[Array]) -> Callable[[], object]:
        """Inputs and outputs in the device's memory, allocated once; a run ends when the device is done."""
        binding: Any = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device, 0))
        for value, array in zip(self._session.get_outputs(), expected, strict=True):
            place = ort.OrtValue.ortvalue_from_shape_and_type(list(array.shape), array.dtype, device, 0)
            binding.bind_ortvalue_output(value.name, place)

        session: Any = self._session

        def call() -> None:
            session.run_with_iobinding(binding)
            # The device works on after the call returns, and outputs are there only when it is done.
            binding.synchronize_outputs()

        return call


def _outputs(subject: TimedModel, feeds: dict[str, Array]) -> list[Array]:
    """Outputs of a run without a CUDA graph, for their shapes: a graph wants its memory before it is recorded."""
    plain = Setup(optimise=subject.setup.optimise, threads=subject.setup.threads, guarded=subject.setup.guarded)
    return sessions.run_session(sessions.start_session(subject.path, subject.provider, plain), feeds)


def time_in_turns(subjects: Sequence[TimedModel], timing: Timing) -> list[TimedRuns]:
    """Times the models in turns: every pair runs each model once, in an order drawn anew for each pair.

    Load of the machine, clock speed and temperature then meet all of them alike. The models are loaded anew in every
    round, because where code and data come to lie changes their speed for as long as the session lives
    (Mytkowicz et al., "Producing Wrong Data Without Doing Anything Obviously Wrong!", ASPLOS 2009).

    Raises:
        ProviderUnavailable: the provider is missing, did not start, or took no node.
        ModelError: a model is refused or does not run.
        UsageError: CUDA graphs were asked of a provider without them.
    """
    rng = np.random.default_rng(timing.seed)
    series = [TimedRuns() for _ in subjects]
    begin = time.perf_counter()
    for index in range(timing.rounds):
        left = timing.rounds - index
        if index >= FEWEST_ROUNDS and time.perf_counter() - begin > timing.max_seconds:
            break
        runners = _load(subjects, series, rng)
        for runner in runners:
            _warm(runner, timing)
        spent = time.perf_counter() - begin
        done = sum(len(s) for s in series[0].seconds)
        # What is left, spread over the rounds that are left, rounded up.
        runs = -(-(timing.runs - done) // left)
        until = _RoundEnd(runs, timing.seconds / timing.rounds, max(0.0, (timing.max_seconds - spent) / left))
        _round(runners, series, until, rng)
        # Freed before the next round loads anew, so that models are not held twice.
        del runners
    return series


def _load(subjects: Sequence[TimedModel], series: Sequence[TimedRuns], rng: np.random.Generator) -> list[Runner]:
    """A new session for each model, in random order: the order of allocations counts too."""
    runners: dict[int, Runner] = {}
    for index in rng.permutation(len(subjects)):
        runner = Runner(subjects[index])
        series[index].load_seconds.append(runner.load_seconds)
        series[index].placement = runner.placement
        runners[int(index)] = runner
    return [runners[index] for index in range(len(subjects))]


def _warm(runner: Runner, timing: Timing) -> None:
    begin, done = time.perf_counter(), 0
    while done < timing.warmup_runs or time.perf_counter() - begin < timing.warmup_seconds:
        runner.once()
        done += 1
        if time.perf_counter() - begin > max(timing.warmup_seconds, timing.max_seconds / timing.rounds):
            return


@dataclass(frozen=True)
class _RoundEnd:
    """When a round ends: both ``runs`` and ``seconds`` are reached, or ``longest`` seconds are over."""

    runs: int
    seconds: float
    longest: float


def _round(
    runners: Sequence[Runner],
    series: Sequence[TimedRuns],
    until: _RoundEnd,
    rng: np.random.Generator,
) -> None:
    """Pairs until the round ends; three at least."""
    times: list[list[float]] = [[] for _ in runners]
    with _no_collection():
        begin = time.perf_counter()
        for done in range(SLICE):
            spent = time.perf_counter() - begin
            # Three pairs at least, so that even a slow model gives a spread.
            if (done >= until.runs and spent >= until.seconds) or (done >= 3 and spent >= until.longest):
                break
            for index in rng.permutation(len(runners)):
                times[index].append(runners[index].once())
    for one, found in zip(series, times, strict=True):
        one.seconds.append(np.asarray(found))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keeps Python's garbage collector out of the timed runs."""
    on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
