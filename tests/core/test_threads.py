"""Narrow matrices are worked on by one thread, and only as long as asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from compressor.commands.prune import prune
from compressor.commands.sensitivity import sensitivity
from compressor.commands.unify import unify
from compressor.config import PruneSettings, UnifySettings
from compressor.config.sensitivity import SensitivitySettings
from compressor.core.clock import Clock
from compressor.core.threads import WORTH_THREADS, blas_threads_for
from tests.models import between


def threads() -> set[int]:
    np.eye(2) @ np.eye(2)
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


@pytest.mark.parametrize(
    ("shapes", "alone"),
    [
        ([], True),
        ([(WORTH_THREADS,)], True),
        ([(16, WORTH_THREADS - 1)], True),
        ([(16, WORTH_THREADS)], False),
        ([(8, WORTH_THREADS // 9 + 1, 3, 3)], False),
    ],
)
def test_one_thread_for_narrow_matrices(shapes: list[tuple[int, ...]], alone: bool) -> None:
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        if before == {1}:
            pytest.skip("this machine has one processor")
        with blas_threads_for(shapes):
            assert threads() == ({1} if alone else before)
        assert threads() == before


def pruned(source: Path, clock: Clock) -> None:
    prune(source, PruneSettings(ratio=0.5, samples=32, recover="lstsq"), clock=clock)


def unified(source: Path, clock: Clock) -> None:
    unify(source, UnifySettings.parse({"min_weights": 16}), clock=clock)


def measured(source: Path, clock: Clock) -> None:
    settings = SensitivitySettings.parse({"samples": 8, "batch_size": 8, "ratios": "0.5", "jobs": 1})
    sensitivity(source, settings, clock=clock)


@pytest.mark.parametrize(
    ("command", "solving"),
    [(pruned, {"choose", "recover"}), (unified, {"project"}), (measured, {"reference", "choose"})],
)
@pytest.mark.recovers
def test_commands_solve_for_narrow_layers_with_one_thread(
    command: Callable[[Path, Clock], None], solving: set[str], tmp_path: Path
) -> None:
    source, seen = tmp_path / "net.onnx", dict[str, set[int]]()
    onnx.save(between("b = Relu(a)"), source)

    def note(phase: str) -> None:
        seen.setdefault(phase, threads())

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        if before == {1}:
            pytest.skip("this machine has one processor")
        command(source, Clock(note))
        assert threads() == before
    assert {phase: seen[phase] for phase in solving} == {phase: {1} for phase in solving}
