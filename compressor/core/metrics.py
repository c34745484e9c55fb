"""Progress of training as lines of JSON in a file, for whoever draws it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compressor.errors import UsageError


class Metrics:
    """The file of one run. Nothing is opened before the first line, because of several processes only one has any.

    Args:
        path: where to write.
        resumed: go on after the lines that are there; else they are dropped with the first new one.
    """

    def __init__(self, path: Path, *, resumed: bool) -> None:
        self._path, self._mode = path, "a" if resumed else "w"

    def add(self, line: dict[str, Any]) -> None:
        """Writes one object; it is in the file at once.

        Raises:
            UsageError: the file cannot be written.
        """
        try:
            with self._path.open(self._mode, encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UsageError(f"--metrics {self._path} cannot be written: {error.strerror or error}") from error
        self._mode = "a"
