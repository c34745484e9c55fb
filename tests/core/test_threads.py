"""Narrow matrices are worked on by one thread, and only as long as asked."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from compressor.core.threads import WORTH_THREADS, fitting_threads


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
        with fitting_threads(shapes):
            assert threads() == ({1} if alone else before)
        assert threads() == before
