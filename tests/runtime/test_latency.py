"""Timing in turns: every pair has each model once, rounds load anew, limits are kept."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.errors import ModelError, ProviderUnavailable, UsageError
from compressor.runtime import latency
from compressor.runtime.latency import TimedModel, Timing, time_in_turns
from compressor.runtime.sessions import CPU, Setup
from tests.models import model

TEXT = """
(float[n,4,6,6] x) => (float y) <float[8,4,3,3] w> {
    a = Conv<pads=[1,1,1,1]>(x, w)
    y = Relu(a)
}"""
QUICK = Timing(runs=12, seconds=0, max_seconds=60, warmup_runs=1, warmup_seconds=0, rounds=3, seed=0)
X = {"x": np.ones((2, 4, 6, 6), np.float32), "not an input": np.ones(1, np.float32)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(model(TEXT), str(tmp_path / "m.onnx"))
    return tmp_path / "m.onnx"


def subject(path: Path, **changes: object) -> TimedModel:
    return TimedModel(path, **{"provider": "cpu", "feeds": X, "setup": Setup(threads=1), **changes})  # type: ignore[arg-type]


def test_rounds_pairs_and_placement(path):
    series = time_in_turns([subject(path), subject(path)], QUICK)
    for one in series:
        assert [len(s) for s in one.seconds] == [4, 4, 4]
        assert all((s > 0).all() for s in one.seconds)
        assert len(one.load_seconds) == 3
        assert one.placement == {CPU: 2}


class Ticker:
    """Stands in for a session: its runs take as long as it says, on a clock of its own."""

    clock = 0.0
    log: list[str] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, asked: TimedModel) -> None:
        self.name, self.load_seconds, self.placement = asked.path.name, 0.5, {CPU: 1}
        self.log.append(f"load {self.name}")

    def once(self) -> float:
        took = {"a": 0.01, "b": 0.03}[self.name]
        Ticker.clock += took
        self.log.append(self.name)
        assert not self.timed or not gc.isenabled()
        return took

    timed = False


@pytest.fixture
def ticker(monkeypatch: pytest.MonkeyPatch) -> type[Ticker]:
    Ticker.clock, Ticker.log = 0.0, []
    monkeypatch.setattr(latency, "Runner", Ticker)
    monkeypatch.setattr(latency.time, "perf_counter", lambda: Ticker.clock)
    return Ticker


def pair() -> list[TimedModel]:
    return [TimedModel(Path(name), "cpu", {}, Setup()) for name in "ab"]


def test_every_pair_has_both_models_in_random_order(ticker):
    time_in_turns(pair(), replace(QUICK, runs=200, rounds=2))
    log = [entry for entry in ticker.log if "load" not in entry]
    starts = [k for k, entry in enumerate(ticker.log) if entry.startswith("load")]
    assert len(starts) == 4
    for half in (log[2:202], log[204:]):
        pairs = list(zip(half[::2], half[1::2], strict=True))
        assert {tuple(sorted(p)) for p in pairs} == {("a", "b")}
        assert 30 < sum(p == ("a", "b") for p in pairs) < 70


def test_both_runs_and_seconds_are_minima(ticker):
    by_time = time_in_turns(pair(), replace(QUICK, runs=10, seconds=8, rounds=2))
    assert 195 <= sum(map(len, by_time[0].seconds)) <= 205
    by_count = time_in_turns(pair(), replace(QUICK, runs=300, seconds=8, rounds=2))
    assert sum(map(len, by_count[1].seconds)) == 300


def test_the_warm_up_is_by_count_and_by_time(ticker):
    time_in_turns(pair(), replace(QUICK, runs=10, warmup_runs=5, warmup_seconds=0.1, rounds=1))
    stretches = [(name, len(list(same))) for name, same in groupby(e for e in ticker.log if "load" not in e)]
    assert stretches[0] in (("a", 10), ("a", 11))  # 0.1 s of 10 ms each
    assert stretches[1][0] == "b"
    assert 5 <= stretches[1][1] <= 6  # 5 runs of 30 ms, and the first pair


def test_a_slow_model_is_cut_short_but_every_round_has_pairs(ticker):
    found = time_in_turns(pair(), replace(QUICK, runs=10_000, max_seconds=2, rounds=4))
    assert [len(s) >= 3 for s in found[0].seconds] == [True] * 4
    assert ticker.clock < 2.5


def test_a_model_slower_than_the_limit_gets_three_rounds_of_three_pairs(ticker):
    found = time_in_turns(pair(), replace(QUICK, runs=100, seconds=3, max_seconds=0.05, rounds=10))
    assert [len(s) for s in found[0].seconds] == [3, 3, 3]


def test_the_garbage_collector_rests_and_comes_back(ticker, monkeypatch):
    assert gc.isenabled()
    monkeypatch.setattr(latency, "_warm", lambda runner, timing: setattr(Ticker, "timed", True))
    time_in_turns(pair(), QUICK)
    assert gc.isenabled()


def test_a_missing_provider_is_an_error(path):
    with pytest.raises(ProviderUnavailable):
        time_in_turns([subject(path, provider="NoSuchExecutionProvider")], QUICK)


def test_cuda_graphs_on_the_cpu_are_refused(path):
    with pytest.raises(UsageError, match="drop --cuda-graph"):
        time_in_turns([subject(path, setup=Setup(cuda_graph=True))], QUICK)


def test_inputs_that_do_not_fit_are_the_models_error(path):
    with pytest.raises(ModelError, match="does not run"):
        time_in_turns([subject(path, feeds={"x": np.ones((1, 3, 6, 6), np.float32)})], QUICK)


def test_bound_inputs_and_outputs_give_a_run(path, monkeypatch):
    """I/O binding works the same on any device; here the device is the host."""
    monkeypatch.setattr(latency, "DEVICES", {CPU: "cpu"})
    bound = latency.Runner(subject(path))
    assert bound.once() > 0
    assert bound._call.__name__ == "call"
