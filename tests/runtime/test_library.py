"""ONNX Runtime's log: silent where it is asked for, and as it was afterwards."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
import uuid
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


def test_quantisers_of_two_threads_leave_the_process_as_it_was() -> None:
    """Each puts back what was there before both, in whatever order they end."""
    before, started, ends = (uuid.uuid1, logging.root.manager.disable), Event(), Event()

    def other() -> None:
        started.set()
        with quantizer._guarded("cannot be quantised"):
            ends.wait(10)

    thread = Thread(target=other)
    with quantizer._guarded("cannot be quantised"):
        assert uuid.uuid1 is not before[0]
        thread.start()
        started.wait(10)
        time.sleep(0.05)
    ends.set()
    thread.join()
    assert (uuid.uuid1, logging.root.manager.disable) == before


def test_the_runtime_keeps_no_record_and_the_environment_is_as_it_was(tmp_path: Path) -> None:
    """In a process of its own, whose home is empty: the runtime would put a database there."""
    path = tmp_path / "m.onnx"
    onnx.save(model(NODE), str(path))
    home = tmp_path / "home"
    home.mkdir()
    script = f"""
import os
before = dict(os.environ)
from compressor.runtime.sessions import Setup, run_session, start_session
import numpy as np
run_session(start_session({str(path)!r}, "cpu", Setup()), {{"x": np.ones((1, 4), np.float32)}})
assert dict(os.environ) == before
"""
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    own = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(home))
    subprocess.run([sys.executable, "-c", script], env={**kept, **own}, cwd=home, check=True, timeout=120)
    assert not list(home.iterdir())


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
