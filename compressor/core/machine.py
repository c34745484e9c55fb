"""What this process may use of the machine, and what its environment says; no other room reads that, nor sets it."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import MappingProxyType


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wanted_threads() -> int:
    """Threads that numerical libraries shall take, as users tell them by ``OMP_NUM_THREADS``; 0 where it says none.

    ONNX Runtime does not look there by itself.
    """
    outermost = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # OpenMP: one number a level of nesting
    return int(outermost) if outermost.isdecimal() else 0


LAUNCHERS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers (torch's and accelerate's, several kinds of MPI) say how many processes they started."""
SLEEPING = MappingProxyType({"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"})
"""Environment in which threads of OpenMP (torch) and OpenBLAS (numpy) sleep while they wait for each other."""


def sleep_while_waiting() -> None:
    """Lets the threads of numerical libraries sleep while they wait; to be called before one is imported.

    By default they spin. Where other processes want the processors, a thread spins for as long as its neighbour is
    not scheduled: a prune of a small network took 36 seconds of processor time on a busy machine, and 12 so. What
    the user has set stays.
    """
    for name, value in SLEEPING.items():
        os.environ.setdefault(name, value)


@contextmanager
def reporting_to_nobody() -> Iterator[None]:
    """Inside, ONNX Runtime is told not to collect its use, for which it looks once, while it is imported."""
    name = "ORT_DISABLE_TELEMETRY"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def variable(name: str) -> str | None:
    """A variable of the environment; None where it is not set."""
    return os.environ.get(name)


def variables() -> list[str]:
    """Names of all that are set."""
    return list(os.environ)


def settings_folder() -> Path:
    """Where users have their settings, of all programs."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())


def rarely_collect() -> None:
    """Lets Python look for circular garbage seldom, for a process of its own.

    A graph is many small objects that stay until the end; to walk over them again whenever 700 more were made, which is
    the default, takes a fifth of the time.
    """
    gc.set_threshold(100_000, 20, 100)


def collect_no_more() -> None:
    """Leaves what there is to the end of the process, which takes it apart faster than Python's last collection."""
    gc.freeze()


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME``, by default ``~/.cache`` (XDG Base Directory Specification, which ignores relative paths)."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"


def temporary_folder() -> str:
    """Where temporary files are to go, whether or not that is a place for any."""
    return os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - named only


def launched_processes() -> int:
    """How many processes a launcher says that it started; 1 without one."""
    return next((int(os.environ[name]) for name in LAUNCHERS if name in os.environ), 1)


def with_modules_of(folder: Path) -> dict[str, str]:
    """The environment of this process for another one, which shall find the modules in ``folder`` too."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def free_memory() -> int | None:
    """Bytes that can be taken without driving others out; None where the system does not say.

    On Linux what the kernel calls available, and no more than what the control group of this process leaves.
    """
    found = [value for value in (_available(), _left_of_group(), _physical()) if value is not None]
    return min(found, default=None)


def _available() -> int | None:
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return None


def _left_of_group() -> int | None:
    limit, used = (_text(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def _physical() -> int | None:
    try:
        return prod(os.sysconf(name) for name in ("SC_PAGE_SIZE", "SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
