"""Runs one command in a process of its own and measures it from outside.

The measuring process must stay small: on Linux a child's peak memory starts at what its parent held when
it was started. That is why the scripts here load neither onnx nor onnxruntime, and leave that to verdict.py.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERDICT = Path(__file__).parent / "verdict.py"


@dataclass(frozen=True)
class Outcome:
    """What a command did: `exit_code` is -N when signal N ended it; `peak_mib` is its largest process."""

    exit_code: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    timeout: float | None
    stdout: str
    stderr: str

    @property
    def error(self) -> str | None:
        """One sentence on why the command failed, None if it did not."""
        if self.timeout is not None:
            return f"killed after the timeout of {self.timeout:g} s"
        if self.exit_code == 0:
            return None
        if self.exit_code < 0:
            return f"killed by {signal.Signals(-self.exit_code).name}"
        return _last_message(self.stderr) or _last_message(self.stdout) or "no message"


def run(argv: list[str], timeout: float) -> Outcome:
    """Runs a command to its end; after `timeout` seconds it and everything it started are killed."""
    environment = os.environ | {"COLUMNS": "1000", "NO_COLOR": "1", "ORT_DISABLE_TELEMETRY": "1"}
    expired = threading.Event()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        child = subprocess.Popen(argv, stdout=out, stderr=err, env=environment, start_new_session=True)
        timer = threading.Timer(timeout, _expire, (child.pid, expired))
        timer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            _kill_group(child.pid)
            child.wait()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        return Outcome(
            exit_code=child.returncode,
            seconds=round(seconds, 3),
            cpu_seconds=round(usage.ru_utime + usage.ru_stime, 3),
            peak_mib=round(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), 1),
            timeout=timeout if expired.is_set() else None,
            stdout=_text(out),
            stderr=_text(err),
        )


def judge(file: Path, timeout: float, *flags: str) -> dict[str, Any]:
    """What verdict.py says about a file, from a process of its own: a crash is a finding, not our end.

    The key `refusal` is None for a valid file, else the sentence that says why it is not.
    """
    outcome = run([sys.executable, str(VERDICT), str(file), *flags], timeout)
    if outcome.error is not None:
        return {"refusal": f"the check itself failed: {outcome.error}"}
    verdict: dict[str, Any] = json.loads(outcome.stdout)
    return verdict


def machine() -> dict[str, Any]:
    """The machine and the versions a measurement depends on, without names of hosts, users or folders."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "onnx": version("onnx"),
        "onnxruntime": version("onnxruntime") or version("onnxruntime-gpu"),
    }


def version(distribution: str) -> str | None:
    """The installed version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _expire(pid: int, expired: threading.Event) -> None:
    expired.set()
    _kill_group(pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _text(file: Any) -> str:
    file.seek(0)
    content: bytes = file.read()
    return content.decode(errors="replace")


def _last_message(text: str) -> str:
    """From the last line that begins with "Error" to the end, else the last line; at most 300 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.lower().startswith("error")]
    return " ".join(lines[starts[-1] :] if starts else lines[-1:])[:300]


def subset(source: Path, count: int, output: Path) -> Path:
    """The first ``count`` samples of an .npz file in a seeded order, without their labels."""
    import numpy as np  # noqa: PLC0415 - the scripts that measure memory stay small

    with np.load(source) as data:
        images = data["x"]
    np.savez(output, x=images[np.random.default_rng(0).permutation(len(images))[: count or None]])
    return output
