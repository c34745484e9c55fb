"""Memory that a model takes: measured in a process of its own, where nothing else grows.

Run as a module it is that process: ``python -m compressor.runtime.memory`` reads the task as JSON from stdin and
writes the result as JSON to stdout.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from compressor.core.arrays import Array, load_array, save_array
from compressor.core.machine import with_modules_of
from compressor.core.scratch import scratch
from compressor.errors import ModelError
from compressor.runtime.sessions import CUDA, TENSORRT, Setup, full_name, run_session, start_session

MEMORY_RUNS = 3
"""Runs after which the allocator has seen what it will see."""
MEMORY_PATIENCE = 600
"""Seconds that the process may take."""


@dataclass(frozen=True)
class Footprint:
    """What loading a model and running it took, in bytes.

    Attributes:
        peak: growth of the largest resident set, over that of the process with the runtime loaded.
        settled: growth of the resident set after the last run.
        device: growth of the memory in use on the accelerator, all its users together; None where unknown.
    """

    peak: int
    settled: int
    device: int | None


def footprint(path: Path, provider: str, feeds: Mapping[str, Array], setup: Setup) -> Footprint | None:
    """Loads the model in a new process, runs it a few times, and says what that took.

    Args:
        path: the model file.
        provider: short or full name.
        feeds: array by input name.
        setup: how the session is set up.

    Returns:
        None where the system does not tell a process its resident set (it does on Linux).

    Raises:
        ModelError: the process failed, or took longer than `MEMORY_PATIENCE`.
    """
    if not Path("/proc/self/status").exists():
        return None
    with scratch() as folder:
        names = {}
        for index, (name, array) in enumerate(feeds.items()):
            names[name] = str(Path(folder) / f"{index}.npy")
            save_array(names[name], array)
        plain = asdict(setup) | {"profile": None}
        task = {"path": str(path.absolute()), "provider": provider, "feeds": names, "setup": plain}
        # The package may not be installed where the new process would look for it.
        root = Path(__file__).resolve().parents[2]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "compressor.runtime.memory"],
                input=json.dumps(task),
                capture_output=True,
                text=True,
                check=False,
                timeout=MEMORY_PATIENCE,
                env=with_modules_of(root),
            )
        except subprocess.TimeoutExpired:
            raise ModelError(
                f"the process that measures memory was not done after {MEMORY_PATIENCE} s; say --no-memory"
            ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"the process that measures memory failed: {last[:300]}; say --no-memory")
    return Footprint(**json.loads(done.stdout.splitlines()[-1]))


def _main() -> None:
    task = json.loads(sys.stdin.read())
    feeds = {name: load_array(file) for name, file in task["feeds"].items()}
    # After the runtime is loaded and the inputs are read, so that neither counts.
    resident, device = _status("VmRSS"), _device_bytes(task["provider"])
    _forget_peak()
    session = start_session(Path(task["path"]), task["provider"], Setup(**task["setup"]))
    for _ in range(MEMORY_RUNS):
        run_session(session, feeds)
    after = _device_bytes(task["provider"])
    grown = None if device is None or after is None else max(0, after - device)
    found = Footprint(_status("VmHWM") - resident, _status("VmRSS") - resident, grown)
    # Libraries may print too; the result is the last line and begins one of its own.
    sys.stdout.write("\n" + json.dumps(asdict(found)) + "\n")


def _status(key: str) -> int:
    """A field of the process's status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


def _forget_peak() -> None:
    """Sets the largest resident set back to the present one, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return


def _device_bytes(provider: str) -> int | None:
    """Memory in use on the first NVIDIA device; None for other providers, or without the driver's tool."""
    tool = shutil.which("nvidia-smi")
    if full_name(provider) not in (CUDA, TENSORRT) or tool is None:
        return None
    query = [tool, "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - found by name
    text = done.stdout.strip()
    return int(text) << 20 if done.returncode == 0 and text.isdecimal() else None


if __name__ == "__main__":
    _main()
