"""Reads a recipe from YAML. The file is not trusted: nothing in it is called, expanded or looked up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compressor.config.recipe import Recipe
from compressor.config.section import did_you_mean
from compressor.core.plain_yaml import parsed, read_text
from compressor.errors import UsageError


def read_recipe(path: Path, changes: Iterable[str] = ()) -> Recipe:
    """The recipe in that file, checked with the settings of all its stages.

    Args:
        path: a YAML file; JSON is YAML too. Paths in it are relative to its folder.
        changes: ``KEY=VALUE`` or ``STAGE.KEY=VALUE``, as if the recipe said so.

    Raises:
        UsageError: the file cannot be read, or says what cannot be done; names the key and the nearest valid one.
    """
    try:
        return parse_recipe(parsed(read_text(path)), changes)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def mapping(path: Path) -> dict[str, Any]:
    """What a YAML file of settings holds, as text, lists and dictionaries; nothing is called, expanded or looked up.

    Raises:
        UsageError: it cannot be read, or is no mapping.
    """
    try:
        values = parsed(read_text(path))
        if values is not None and not isinstance(values, dict):
            raise UsageError("settings stand in a mapping, each as NAME: VALUE below the name of a command")
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return values or {}


def parse_recipe(values: Any, changes: Iterable[str] = ()) -> Recipe:
    """The recipe that these values say, checked with the settings of all its stages; raises as
    :func:`read_recipe`.

    Args:
        values: what a recipe's file holds, as nested dictionaries.
        changes: as for :func:`read_recipe`.
    """
    if not isinstance(values, dict):
        raise UsageError("a recipe is a mapping with the keys model, output and stages")
    for change in changes:
        _set(values, change)
    for key, what in (("model", "the file to start from"), ("stages", "what is done")):
        if values.get(key) is None:
            raise UsageError(f"the key {key!r} is missing, {what}")
    recipe = Recipe.parse(values, lent=values)  # by what stages say beside it
    # Every stage is parsed now, so that a slip in the last one shows before the first one runs.
    recipe.settings()
    recipe.limits()
    return recipe


def _set(values: dict[str, Any], change: str) -> None:
    """Puts ``KEY=VALUE`` into the recipe; a value in brackets or braces is YAML, any other is text."""
    key, found, text = change.partition("=")
    if not found or not key:
        raise UsageError(f"--set {change}: write KEY=VALUE or STAGE.KEY=VALUE, such as prune.ratio=0.3")
    # Other texts stay text, as on the command line, where the settings parse them.
    value = parsed(text) if text.startswith(("[", "{")) else text or None
    first, dot, rest = key.partition(".")
    if not dot:
        values[key] = value
        return
    place = values if first == "gates" else values.get("stages")
    if not isinstance(place, dict) or (first != "gates" and first not in place):
        known = place if isinstance(place, dict) else ()
        raise UsageError(f"--set {change}: the recipe has no stage {first!r}{did_you_mean(first, known)}")
    place[first] = {**(place.get(first) or {}), rest: value}
