"""Finished measurements in a file, one JSON object a line, found again by the hash of what was measured."""

from __future__ import annotations

import json
from pathlib import Path

from compressor.errors import UsageError
from compressor.results.sensitivity import OutputChange


class Ledger:
    """What was measured, by key. A line that an interruption cut short is passed over.

    Args:
        path: is read if it is there, and gets a line for each new measurement; None remembers nothing.

    Raises:
        UsageError: the file cannot be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._found: dict[str, OutputChange] = {}
        self._torn = False
        if path is None or not path.exists():
            return
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}; remove it to start anew") from error
        # A last line without its end was cut short; the next one must not be glued to it.
        self._torn = not text.endswith("\n")
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                self._found[str(entry["key"])] = OutputChange.model_validate(entry["change"])
            # Also a file of something else costs no more than measuring anew.
            except (ValueError, KeyError, TypeError, RecursionError):
                continue

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> OutputChange:
        return self._found[key]

    def add(self, key: str, label: str, change: OutputChange) -> None:
        """Remembers a measurement; it is in the file when this returns.

        Raises:
            UsageError: the file cannot be written.
        """
        self._found[key] = change
        if self._path is None:
            return
        line = json.dumps({"key": key, "trial": label, "change": change.model_dump(mode="json")})
        try:
            # Opened for each line, so that the line is in the file before the next measurement begins.
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{chr(10) if self._torn else ''}{line}\n")
        except OSError as error:
            raise UsageError(f"{self._path} cannot be written: {error.strerror or error}") from error
        self._torn = False
