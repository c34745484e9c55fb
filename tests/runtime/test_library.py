"""ONNX Runtime's log: silent where it is asked for, and as it was afterwards."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Event, Thread

import onnx
import pytest

from compressor.errors import ModelError, ProviderUnavailable
from compressor.runtime import library, quantizer, sessions
from tests.models import model

NODE = "(float[n,4] x) => (float y) { y = Relu(x) }"


@pytest.fixture
def severities(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the severity is set to, in a row."""
    found: list[int] = []
    monkeypatch.setattr(library.ort, "set_default_logger_severity", found.append)
    return found


def test_the_log_is_silent_inside_and_as_it_was_behind_an_error(severities):
    with library.silenced():
        assert severities == [library.FATAL]
    with pytest.raises(ModelError), library.silenced():
        raise ModelError("told once")
    assert severities == [library.FATAL, library.WARNING] * 2


def test_a_provider_that_does_not_start_leaves_the_log_as_it_was(severities, monkeypatch, tmp_path: Path):
    path = tmp_path / "m.onnx"
    onnx.save(model(NODE), str(path))
    monkeypatch.setattr(sessions.ort, "get_available_providers", lambda: [sessions.CUDA, sessions.CPU])
    monkeypatch.setattr(sessions, "_preloaded", lambda: "libcudart.so is not there\nnor others")
    monkeypatch.setattr(sessions, "_chosen", lambda name, setup: [sessions.CPU])
    with pytest.raises(ProviderUnavailable, match=r"did not start \(libcudart.so is not there\)"):
        sessions.start_session(path, "cuda", sessions.Setup())
    assert severities == [library.FATAL, library.WARNING]
    sessions.start_session(path, "cpu", sessions.Setup())
    assert len(severities) == 2


def test_a_quantiser_that_fails_leaves_both_logs_as_they_were(severities, tmp_path: Path):
    disabled = logging.root.manager.disable
    with pytest.raises(ModelError, match="leave nodes out with --exclude"):
        quantizer.optimised(tmp_path / "missing.onnx", tmp_path / "out.onnx")
    assert severities == [library.FATAL, library.WARNING]
    assert logging.root.manager.disable == disabled


def test_one_thread_at_a_time_silences_the_log() -> None:
    """The first one out would let the other be heard."""
    entered = Event()

    def other() -> None:
        with library.silenced():
            entered.set()

    thread = Thread(target=other)
    with library.silenced():
        thread.start()
        assert not entered.wait(0.1)
    thread.join()
    assert entered.is_set()
