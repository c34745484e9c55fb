"""Settings of a run as rows of a table: name and value, with what the run made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

UNSET = "\N{EN DASH}"


def asked_rows(settings: Mapping[str, Any], ran: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each setting as it was asked for, and what the run made of that: ``auto (global)``."""
    became = {**settings, **_of_training(ran.get("training", [])), **ran}
    pairs = ((key, _setting(value), _setting(became[key])) for key, value in settings.items())
    return [(key.replace("_", " "), asked if asked == done else f"{asked} ({done})") for key, asked, done in pairs]


def _of_training(trained: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What trainings made of their settings; of several after each other, each value that was not the same."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for part in trained for key in part):
        values = [part[key] for part in trained if key in part]
        found[key] = values[0] if all(value == values[0] for value in values) else values
    return found


def plain_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each setting; lists and the like as JSON."""
    return [(key.replace("_", " "), _setting(value)) for key, value in values.items()]


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Zero and false are values; only what is empty gets a dash.
    if value is None or value in ([], {}, ()):
        return UNSET
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
