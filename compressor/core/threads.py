"""As many threads for linear algebra as its matrices are worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod

WORTH_THREADS = 2048
"""Columns from which on a product of matrices is worth more than one thread. Where other processes want the processors,
two take twice the processor time of one for narrower matrices, and longer."""


def blas_threads_for(shapes: Iterable[Sequence[int]]) -> AbstractContextManager[object]:
    """Lets OpenBLAS and its kin use one thread as long as it lasts, where no matrix is wide.

    Args:
        shapes: of weights, as (outputs, inputs, taps ...) or (inputs, outputs).
    """
    matrices = [shape for shape in shapes if len(shape) > 1]
    widest = max((max(shape[0], prod(shape[1:])) for shape in matrices), default=0)
    if widest >= WORTH_THREADS:
        return nullcontext()
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - what solves nothing need not load it

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")  # type: ignore[no-untyped-call]
    return limits
