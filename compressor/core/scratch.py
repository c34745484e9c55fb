"""A folder for what lasts no longer than a step."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.core.machine import temporary_folder
from compressor.errors import UsageError

_FULL = (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENOENT)
"""Errors that say there is no room; numpy raises the first one when it could not write a whole array."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, removed at the end.

    Raises:
        UsageError: there is no place for one, or no room in it.
    """
    folder = None
    try:
        with tempfile.TemporaryDirectory(prefix="onnx-compressor-") as folder:
            yield Path(folder)
    except OSError as error:
        # An error of the code inside is its own; only want of room is about this folder.
        if error.errno not in _FULL or (folder is not None and error.errno == errno.ENOENT):
            raise
        where = temporary_folder() if folder is None else str(Path(folder).parent)
        reason = error.strerror or error
        raise UsageError(f"no room for temporary files in {where}: {reason}; make room, or set TMPDIR") from None
