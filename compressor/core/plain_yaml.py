"""YAML of texts, lists and mappings. The file is not trusted: nothing in it is called, expanded or looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from compressor.errors import UsageError

MAX_BYTES, MAX_DEPTH = 1 << 16, 16


def read_text(path: Path) -> str:
    """The text of a small file.

    Raises:
        UsageError: it cannot be read, is large, or is no text.
    """
    try:
        with path.open("rb") as file:
            # One byte more than allowed tells a file that is too large without reading all of it.
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError("the file is larger than 64 KiB; what is meant is a few lines of YAML")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UsageError(f"the file cannot be read: {reason}; check the path") from None


def parsed(text: str) -> Any:
    """Texts, lists and dictionaries. Scalars stay text until the settings parse them, as on the command line, so that
    ``off`` and ``1:30`` are what they look like; plain ``null``, ``~`` and nothing at all are None.

    Raises:
        UsageError: it is no YAML, or makes a small file large or slow.
    """
    try:
        _check(text)
        # Nodes and not objects: no tag is resolved, so that nothing is constructed or called.
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
        # References to references make a few lines grow without bound.
        if isinstance(event, yaml.AliasEvent):
            raise _fault("references such as *name are not read, write it out", event)


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        # Quoted, these are texts.
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
