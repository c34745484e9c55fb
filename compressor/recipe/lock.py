"""One run at a time in a work folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.errors import UsageError

NAME = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds the lock of a work folder, which the system lets go of however the process ends.

    Where the system has no such locks (Windows), or the file system none, nothing is held.

    Raises:
        UsageError: another run holds it, or the folder cannot be made.
    """
    try:
        import fcntl  # noqa: PLC0415 - only POSIX has it
    except ImportError:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise not_made(folder, error) from None
    try:
        try:
            # The kernel's lock and not the file's being there: after a crash the file stays and the lock does not.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 32).decode("ascii", "replace").strip() or "unknown"
            raise UsageError(
                f"another run (process {owner}) works in {folder}; wait for it, or name another folder with --work"
            ) from None
        except OSError:
            pass  # a file system without locks
        # Only the holder writes, so that a process which is refused reads who holds it.
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        yield
    finally:
        # Closing lets go of the lock; the file stays, as removing it would race with a process that waits to open it.
        os.close(file)


def not_made(folder: Path, error: OSError) -> UsageError:
    """What is told where the work folder ``folder`` cannot be written to."""
    return UsageError(f"the work folder {folder} cannot be made: {error.strerror or error}; name another with --work")
