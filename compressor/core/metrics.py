"""Progress of training as lines of JSON in a file, or handed to a function, for whoever draws or tracks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compressor.core.user_code import NAMED, importable, imported, user_errors
from compressor.errors import UsageError


class Metrics:
    """The file of one run. Nothing is opened before the first line, because of several processes only one has any.

    Args:
        path: where to write; or ``package.module:callable``, which is called with each object instead.
        resumed: go on after the lines that are there; else they are dropped with the first new one.

    Raises:
        UsageError: there is no such function.
    """

    def __init__(self, path: Path, *, resumed: bool) -> None:
        self._path, self._mode = path, "a" if resumed else "w"
        named = NAMED.fullmatch(str(path)) and not path.exists()
        self._hook = imported(str(path), "--metrics") if named else None

    def add(self, line: dict[str, Any]) -> None:
        """Writes one object; it is in the file at once.

        Raises:
            UsageError: the file cannot be written, or the function fails.
        """
        if self._hook is not None:
            with importable(), user_errors(str(self._path), "--metrics"):
                self._hook(line)
            return
        try:
            with self._path.open(self._mode, encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UsageError(f"--metrics {self._path} cannot be written: {error.strerror or error}") from error
        self._mode = "a"
