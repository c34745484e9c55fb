"""Where look-up tables are kept from one run to the next: one file for what a table holds for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from compressor.core.atomic import write_text
from compressor.core.machine import cache_folder
from compressor.errors import UsageError
from compressor.latency.table import Table


def default_folder() -> Path:
    """``onnx-compressor/latency`` in the user's cache folder."""
    return cache_folder() / "onnx-compressor" / "latency"


class LatencyCache:
    """One table's file.

    Args:
        folder: of all tables; the user's cache folder where None.
        made_for: what decides the times, as JSON values; a table for anything else is not read.
    """

    def __init__(self, folder: Path | None, made_for: Mapping[str, Any]) -> None:
        self._made_for = made_for
        # Everything that decides times is in the name, so that no table is taken for another graph or machine.
        name = sha256(json.dumps(dict(made_for), sort_keys=True).encode()).hexdigest()[:32]
        self._path = (folder or default_folder()) / f"{name}.json"

    def read(self) -> Table:
        """The table, empty where there is none, or none that can be read."""
        try:
            return Table.from_json(self._path.read_text(encoding="utf-8"), self._made_for)
        # A cache that cannot be read costs time and is no error.
        except (OSError, ValueError):
            return Table()

    def write(self, table: Table) -> list[str]:
        """Keeps the table; a warning where that is not possible, because it is no reason to stop."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, table.to_json(self._made_for))
        except (OSError, UsageError) as error:
            return [f"measured operator times were not kept: {error}"]
        return []
