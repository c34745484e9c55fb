"""Measurements on executors and on a cluster."""

from __future__ import annotations

import os
import signal
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import compressor
from compressor.errors import CompressorError, ModelError, UsageError
from compressor.experiments.ledger import Ledger
from compressor.experiments.run import run_trials
from compressor.experiments.workers import workers_of
from tests.experiments.case import experiment, seen, trials
from tests.models import between


def test_an_executor_measures_the_same_and_stays_open(tmp_path) -> None:
    wanted = trials("0.5", "0.75", "1", "1.25")
    with ThreadPoolExecutor(2) as pool:
        found = run_trials(experiment(tmp_path), wanted, Ledger(), pool, print)
        assert found == run_trials(experiment(tmp_path), wanted, Ledger(), 1, print)
        assert pool.submit(int, "3").result() == 3


def test_sensitivity_takes_one() -> None:
    net = between("b = Relu(a)")
    with ThreadPoolExecutor(2) as pool:
        found = compressor.sensitivity(net, ratios=(0.5,), samples=4, executor=pool)
    assert found.groups == compressor.sensitivity(net, ratios=(0.5,), samples=4).groups


def test_what_a_trial_raises_is_raised(tmp_path) -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(ModelError, match="times fail: it does not run"):
        run_trials(experiment(tmp_path), trials("2", "fail"), Ledger(), pool, print)


class Lost(Executor):
    """Whose workers go away."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def submit(self, *arguments, **options):  # type: ignore[no-untyped-def, override]
        future: Future[object] = Future()
        future.set_exception(self.error)
        return future


@pytest.mark.parametrize("error", [CancelledError(), OSError("closed"), type("KilledWorker", (Exception,), {})()])
def test_workers_that_go_away_are_a_sentence(tmp_path, error) -> None:
    with pytest.raises(CompressorError, match="the workers that measure are gone"):
        run_trials(experiment(tmp_path), trials("2"), Ledger(), Lost(error), print)


def asked(cluster: str | None) -> SimpleNamespace:
    return SimpleNamespace(jobs=3, cluster=cluster)


def test_settings_say_who_measures() -> None:
    with workers_of(asked(None)) as found:
        assert found == 3
    with pytest.raises(UsageError, match="write dask://HOST:PORT"), workers_of(asked("slurm://a")):
        pass


def test_a_cluster_that_does_not_answer_is_a_sentence(monkeypatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("compressor.experiments.workers.PATIENCE", "1s")
    with pytest.raises(UsageError, match="does not answer"), workers_of(asked("dask://127.0.0.1:9")):
        pass


def test_a_cluster_without_workers_is_a_sentence() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as cluster,
        pytest.raises(UsageError, match="has no worker; start one"),
        workers_of(asked(cluster.scheduler_address.replace("tcp", "dask"))),
    ):
        pass


def test_a_killed_worker_loses_nothing(tmp_path) -> None:
    distributed = pytest.importorskip("distributed")
    wanted = trials(*(f"{0.5 + n / 16}" for n in range(16)))
    killed: list[int] = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        pids = [worker.pid for worker in cluster.workers.values()]

        def tell(text: str) -> None:
            if not killed:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)

        with workers_of(asked(cluster.scheduler_address.replace("tcp", "dask"))) as pool:
            found = run_trials(experiment(tmp_path), wanted, Ledger(), pool, tell)
    assert killed
    assert len(set(seen(tmp_path))) == 16
    assert found == run_trials(experiment(tmp_path), wanted, Ledger(), 1, print)
