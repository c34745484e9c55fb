"""Where a model file comes from, as it says itself: every command that wrote it, in ``metadata_props``.

Keys are ``onnx_compressor.N.FACT``, N counted from 1 in the order of the commands. Values hold no time, no path and no
name of a machine, so that the same input and settings give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnx_ir as ir

from compressor.config import RunSettings
from compressor.graph.disk import files
from compressor.version import VERSION

PROVENANCE_PREFIX: Final = "onnx_compressor."
TOOL: Final = f"onnx-compressor {VERSION}"
ELSEWHERE: Final = ("data", "val_data", "also", "external_data", "latency")
"""Settings that say where something lies, or what is measured, of no model; besides all paths and asides."""
FACTS: Final = (
    *("tool", "command", "settings", "settings_sha256", "input_sha256", "plan_sha256"),
    *("proof", "distance", "accuracy"),
)
"""What a step says, in the order in which it is shown."""
LOSSY: Final = ("prune", "finetune", "unify", "quantize")
"""Commands after which outputs are other ones, unless their settings say lossless."""
MAX_TEXT: Final = 10_000
"""Characters of a value that is read; metadata comes from files, which are not trusted."""
_KEY: Final = re.compile(re.escape(PROVENANCE_PREFIX) + r"(\d{1,4})\.([a-z][a-z0-9_]{0,63})")


def provenance_steps(model: ir.Model) -> list[dict[str, str]]:
    """The facts of every command that wrote the model, first to last; empty for a model of other origin."""
    found: dict[int, dict[str, str]] = {}
    for key, value in model.metadata_props.items():
        match = _KEY.fullmatch(key)
        if match is not None:
            found.setdefault(int(match[1]), {})[match[2]] = str(value)[:MAX_TEXT]
    return [dict(sorted(found[number].items(), key=_place)) for number in sorted(found)]


def steps_since(model: ir.Model, origin: Path) -> list[dict[str, str]]:
    """The facts of the commands that made a model of the file ``origin``, first to last; empty where it names another.

    Raises:
        ModelError: the file cannot be read.
    """
    steps = provenance_steps(model)
    if not steps:
        return []
    own = files.digest(files.model_files(origin))
    places = [place for place, step in enumerate(steps) if step.get("input_sha256") == own]
    return steps[places[0] :] if places else []


def changes_outputs(step: Mapping[str, str]) -> bool:
    """Is a command, by its facts, one that changes what a model computes?"""
    try:
        given = json.loads(step.get("settings", "{}"))
    except ValueError:
        given = {}
    return step.get("command") in LOSSY and not (isinstance(given, dict) and given.get("lossless") is True)


def stamp_provenance(
    model: ir.Model, command: str, settings: RunSettings, digest: str | None, facts: Mapping[str, str | None]
) -> None:
    """Adds a command to what a model says of itself.

    Args:
        model: is changed.
        command: its name.
        settings: those that were given count, and a hash of all.
        digest: of the files that were read; None for a model in memory, of whose origin nothing is claimed.
        facts: what else is known, in words; None is left out.
    """
    kept = _kept(settings)
    fields = type(settings).model_fields
    # A setting that was given with its default value says nothing.
    given = {
        name: value
        for name, value in kept.items()
        if settings.given(name) and getattr(settings, name) != fields[name].default
    }
    known = {
        "tool": TOOL,
        "command": command,
        "settings": json.dumps(given, sort_keys=True),
        "settings_sha256": text_digest(json.dumps(kept, sort_keys=True)),
        "input_sha256": digest,
        **facts,
    }
    # Earlier steps stay, so that the numbers give the order.
    number = len(provenance_steps(model)) + 1
    for name, value in known.items():
        if value is not None:
            model.metadata_props[f"{PROVENANCE_PREFIX}{number}.{name}"] = value


def input_digest(model: ir.Model, origin: object) -> str | None:
    """Stands for the bytes of the files that ``model``, or the model it was made from, was read from.

    Args:
        model: knows them as a rule; else ``origin`` is looked into.
        origin: a file; of anything else nothing is claimed.

    Raises:
        ModelError: the file cannot be read.
    """
    if not isinstance(origin, str | Path):
        return None
    source = files.source_of(model)
    return files.digest(files.model_files(origin) if source is None else source.files)


def copy_last_step(source: ir.Model, target: ir.Model) -> None:
    """Adds the last command that wrote one model to what another one says of itself."""
    steps = provenance_steps(source)
    number = len(provenance_steps(target)) + 1
    for name, value in steps[-1].items() if steps else ():
        target.metadata_props[f"{PROVENANCE_PREFIX}{number}.{name}"] = value


def _place(fact: tuple[str, str]) -> tuple[int, str]:
    """What is known first, in the order of :data:`FACTS`."""
    return (FACTS.index(fact[0]) if fact[0] in FACTS else len(FACTS), fact[0])


def _kept(settings: RunSettings) -> dict[str, object]:
    paths = {name for name in type(settings).model_fields if isinstance(getattr(settings, name), Path)}
    return settings.model_dump(mode="json", exclude={*paths, *ELSEWHERE, *settings.asides()}, exclude_none=True)


def text_digest(text: str) -> str:
    """SHA-256 of text in UTF-8, as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
