"""Defaults that users set once: a file of settings by command, read where they name it.

What counts, first to last: the command line; environment variables (``ONNX_COMPRESSOR_PRUNE_ROUND_TO``); the file; the
built-in default. The file is named by ``ONNX_COMPRESSOR_CONFIG`` or lies in the user's own folder of settings. None is
looked for in the current folder, because a setting can name a function, and folders come from other people.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from compressor.core.machine import settings_folder, variable, variables
from compressor.errors import UsageError

VARIABLE_PREFIX = "ONNX_COMPRESSOR"
"""Of environment variables."""
VARIABLE = f"{VARIABLE_PREFIX}_CONFIG"
EVERY_COMMAND = "all"
"""The part of the file that holds for every command which has such a setting."""


def place() -> Path | None:
    """The file of defaults; None where there is none."""
    named = variable(VARIABLE)
    if named:
        return Path(named)
    found = settings_folder() / "onnx-compressor" / "config.yaml"
    return found if found.is_file() else None


def check_variables(command: click.Command, prefix: str | None) -> None:
    """Refuses variables of the environment that are named as those of a command and are none of its settings.

    Args:
        command: whose options count.
        prefix: of its variables, without the line after it; None where none are read.

    Raises:
        UsageError: names the variable, and the nearest setting.
    """
    start = f"{prefix}_"
    given = [] if prefix is None else sorted(name for name in variables() if name.startswith(start))
    if given:
        from compressor.config.section import did_you_mean

        known = _options(command)
        for name in given:
            setting = name.removeprefix(start)
            if setting not in map(str.upper, known):
                nearest = did_you_mean(setting, known)
                raise UsageError(f"{name} is set, and {command.name} has no setting {setting.lower()!r}{nearest}")


def defaults_of(command: click.Command) -> dict[str, Any]:
    """What the file says for a command, as text by parameter.

    Raises:
        UsageError: the file cannot be read, or names what the command does not have.
    """
    path = place()
    if path is None:
        return {}
    # Imported here: most users have no such file, and pay nothing for it.
    from compressor.config.section import did_you_mean
    from compressor.recipe.reading import mapping

    whole = mapping(path)
    known = _options(command)
    own = _part(path, whole, str(command.name))
    for name in own:
        if name not in known:
            raise UsageError(f"{path}: {command.name} has no setting {name!r}{did_you_mean(name, known)}")
    # What a command does not have is passed over in the shared part, as other commands have it.
    shared = {name: value for name, value in _part(path, whole, EVERY_COMMAND).items() if name in known}
    # A command's own part goes before the shared one.
    return {name: _value(known[name], value) for name, value in {**shared, **own}.items() if value is not None}


def written_as(command: click.Command, name: str) -> str:
    """How the file of defaults gives a command one of its settings, and which file; empty where it does not."""
    path = place()
    if path is None:
        return ""
    from compressor.recipe.reading import mapping

    whole = mapping(path)
    for part in (str(command.name), EVERY_COMMAND):
        value = _part(path, whole, part).get(name)
        if value is not None:
            return f"{part}: {{{name}: {value}}} in {path}"
    return ""


def _options(command: click.Command) -> dict[str, click.Option]:
    return {str(param.name): param for param in command.params if isinstance(param, click.Option)}


def _part(path: Path, whole: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One command's settings, by names with underscores."""
    part = whole.get(name) or {}
    if not isinstance(part, Mapping):
        raise UsageError(f"{path}: below {name!r} stand settings, each as NAME: VALUE")
    return {str(key).replace("-", "_"): value for key, value in part.items()}


def _value(option: click.Option, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(str, value))
    # An option that may be given several times wants a tuple, also of one.
    return (str(value),) if option.multiple else value
