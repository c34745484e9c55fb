"""Progress of training as lines of JSON in a file, or handed to a function, for whoever draws or tracks it."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from compressor.errors import UsageError

HOOK: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""``package.module:callable``."""


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
        self._hook = _imported(str(path)) if HOOK.fullmatch(str(path)) and not path.exists() else None

    def add(self, line: dict[str, Any]) -> None:
        """Writes one object; it is in the file at once.

        Raises:
            UsageError: the file cannot be written, or the function fails.
        """
        if self._hook is not None:
            try:
                self._hook(line)
            except Exception as error:
                raise UsageError(f"--metrics {self._path} raised {type(error).__name__}: {error}") from error
            return
        try:
            with self._path.open(self._mode, encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UsageError(f"--metrics {self._path} cannot be written: {error.strerror or error}") from error
        self._mode = "a"


def _imported(text: str) -> Callable[[dict[str, Any]], object]:
    module, _, name = text.partition(":")
    # A console script has its own folder on the path, not the current one.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: Callable[[dict[str, Any]], object] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--metrics {text}: {error}; name a function that takes a dictionary") from None
    return found
