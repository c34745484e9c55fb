"""Text files that appear whole or not at all."""

import os
import secrets
from pathlib import Path

from compressor.errors import UsageError


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text under a temporary name in the same folder, flushes it and renames it.

    Links are followed; what is no regular file, such as ``/dev/stderr`` or a pipe, is written to directly.

    Raises:
        UsageError: the place cannot be written to.
    """
    # A rename would replace a link and leave what it points to as it was.
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
        else:
            _replace(target, text)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{path} cannot be written: {reason}; choose another place") from error


def _replace(target: Path, text: str) -> None:
    # In the same folder, as a rename is atomic within one file system only.
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            # Otherwise a crash may leave the new name with nothing in it.
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
