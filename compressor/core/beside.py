"""Work that is done beside what the interpreter does: reading and hashing, which leave it alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def beside(work: Callable[[], T]) -> Callable[[], T]:
    """Starts ``work`` on a thread of its own.

    Returns:
        Waits for the end of it, and gives what it returns, or raises what it raises.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - whoever asks for the result is told
            future.set_exception(error)

    # A daemon, so that a run which ends with an error does not wait for what nobody asks for any more.
    Thread(target=run, daemon=True).start()
    return future.result
