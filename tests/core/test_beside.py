"""Work beside the interpreter: its result and its error come to whoever asks."""

from __future__ import annotations

from threading import Event

import pytest

from compressor.core.beside import beside


def test_it_is_begun_at_once_and_its_result_is_waited_for() -> None:
    begun, allowed = Event(), Event()

    def work() -> str:
        begun.set()
        assert allowed.wait(10)
        return "done"

    result = beside(work)
    assert begun.wait(10)
    allowed.set()
    assert result() == result() == "done"


def test_its_error_is_raised_where_the_result_is_asked_for() -> None:
    def work() -> None:
        raise OSError("gone")

    result = beside(work)
    with pytest.raises(OSError, match="gone"):
        result()
