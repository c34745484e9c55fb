"""Reads a recipe from YAML. The file is not trusted: nothing in it is called, expanded or looked up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from compressor.config.recipe import Recipe
from compressor.config.section import did_you_mean
from compressor.errors import UsageError

MAX_BYTES, MAX_DEPTH = 1 << 16, 16


def read_recipe(path: Path, changes: Iterable[str] = ()) -> Recipe:
    """The recipe in that file, checked with the settings of all its stages.

    Args:
        path: a YAML file; JSON is YAML too. Paths in it are relative to its folder.
        changes: ``KEY=VALUE`` or ``STAGE.KEY=VALUE``, as if the recipe said so.

    Raises:
        UsageError: the file cannot be read, or says what cannot be done; names the key and the nearest valid one.
    """
    try:
        return checked(_parsed(_text(path)), changes)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def mapping(path: Path) -> dict[str, Any]:
    """What a YAML file of settings holds, as text, lists and dictionaries; nothing is called, expanded or looked up.

    Raises:
        UsageError: it cannot be read, or is no mapping.
    """
    try:
        values = _parsed(_text(path))
        if values is not None and not isinstance(values, dict):
            raise UsageError("settings stand in a mapping, each as NAME: VALUE below the name of a command")
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return values or {}


def checked(values: Any, changes: Iterable[str] = ()) -> Recipe:
    """The recipe that these values say, checked with the settings of all its stages; raises UsageError as :func:`read`.

    Args:
        values: what a recipe's file holds, as nested dictionaries.
        changes: as for :func:`read`.
    """
    if not isinstance(values, dict):
        raise UsageError("a recipe is a mapping with the keys model, output and stages")
    for change in changes:
        _set(values, change)
    for key, what in (("model", "the file to start from"), ("stages", "what is done")):
        if values.get(key) is None:
            raise UsageError(f"the key {key!r} is missing, {what}")
    recipe = Recipe.parse(values)
    recipe.settings()
    recipe.limits()
    return recipe


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError("the file is larger than 64 KiB; what is meant is a few lines of YAML")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UsageError(f"the file cannot be read: {reason}; check the path") from None


def _parsed(text: str) -> Any:
    """Texts, lists and dictionaries. Scalars stay text until the settings parse them, as on the command line, so that
    ``off`` and ``1:30`` are what they look like; plain ``null``, ``~`` and nothing at all are None.
    """
    try:
        _check(text)
        node = yaml.compose(text, yaml.SafeLoader)
        return None if node is None else _value(node)
    except yaml.MarkedYAMLError as error:
        where = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise UsageError(f"the YAML cannot be read{where}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"the YAML cannot be read: {str(error).splitlines()[0]}") from None


def _check(text: str) -> None:
    """Refuses what makes a small file large or slow, event by event, before anything is built."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _fault("it is nested too deeply", event)
        if isinstance(event, yaml.AliasEvent):
            raise _fault("references such as *name are not read, write it out", event)


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in ("", "~", "null") else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    found: dict[str, Any] = {}
    for key, value in node.value:
        name = _value(key)
        if not isinstance(name, str):
            raise _fault("a key must be text", key)
        if name in found:
            raise _fault(f"the key {name!r} comes twice", key)
        found[name] = _value(value)
    return found


def _fault(problem: str, at: Any) -> yaml.MarkedYAMLError:
    """An error at an event or a node."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _set(values: dict[str, Any], change: str) -> None:
    """Puts ``KEY=VALUE`` into the recipe; a value in brackets or braces is YAML, any other is text."""
    key, found, text = change.partition("=")
    if not found or not key:
        raise UsageError(f"--set {change}: write KEY=VALUE or STAGE.KEY=VALUE, such as prune.ratio=0.3")
    value = _parsed(text) if text.startswith(("[", "{")) else text or None
    first, dot, rest = key.partition(".")
    if not dot:
        values[key] = value
        return
    place = values if first == "gates" else values.get("stages")
    if not isinstance(place, dict) or (first != "gates" and first not in place):
        known = place if isinstance(place, dict) else ()
        raise UsageError(f"--set {change}: the recipe has no stage {first!r}{did_you_mean(first, known)}")
    place[first] = {**(place.get(first) or {}), rest: value}
