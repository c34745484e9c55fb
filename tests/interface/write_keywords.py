"""Writes compressor/interface/keywords.pyi from the settings: ``python -m tests.interface.write_keywords``."""

from __future__ import annotations

import textwrap
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from compressor.config import (
    BenchSettings,
    CleanSettings,
    PruneSettings,
    RunSettings,
    SparsifySettings,
    VerifySettings,
    choices,
)
from compressor.config.choosing import ChoosingSettings
from compressor.config.quantize import QuantizeSettings
from compressor.config.robustness import RobustnessSettings
from compressor.config.sensitivity import SensitivitySettings
from compressor.core.choices import Choices

PLACE = Path(__file__).parents[2] / "compressor" / "interface" / "keywords.pyi"
CLASSES: dict[str, tuple[type[RunSettings], tuple[str, ...]]] = {
    "BenchKeywords": (BenchSettings, ()),
    "CleanKeywords": (CleanSettings, ()),
    "PruneKeywords": (PruneSettings, ("ratio",)),
    "QuantizeKeywords": (QuantizeSettings, ()),
    "RobustnessKeywords": (RobustnessSettings, ()),
    "SensitivityKeywords": (SensitivitySettings, ()),
    "TuneKeywords": (SparsifySettings, ()),
    "UnifyKeywords": (ChoosingSettings, ()),
    "VerifyKeywords": (VerifySettings, ()),
}
"""Name of the keywords -> the settings they are, and those that the function has as parameters of its own."""
SAMPLES = ("data", "val_data")
EXTENSIBLE = [table for table in vars(choices).values() if isinstance(table, Choices) and table.group is not None]
"""Tables that other packages add to, so that any text is right where their names are."""
HEAD = '''"""What keywords the functions of :mod:`compressor.api` take, for type checkers and editors.

Written from the settings by ``python -m tests.interface.write_keywords``; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

from compressor.interface.samples import DataLike
'''


def text() -> str:
    """The whole module."""
    return HEAD + "".join(_one(name, *found) for name, found in CLASSES.items())


def _one(name: str, settings: type[RunSettings], without: tuple[str, ...]) -> str:
    lines = [f"\nclass {name}(TypedDict, total=False):", f'    """Settings of :class:`{settings.__module__}.'
             f'{settings.__qualname__}`."""\n']  # fmt: skip
    for field, info in settings.model_fields.items():
        if field in without:
            continue
        lines.append(_line(f"    {field}: {' | '.join(_kinds(field, info))}"))
        told = textwrap.wrap(str(info.description).replace("\\", "\\\\").replace('"', "'"), 110)
        lines += [f'    """{told[0]}', *(f"    {line}" for line in told[1:])]
        lines[-1] += '"""'
    return "\n".join(lines) + "\n"


def _line(line: str) -> str:
    if len(line) <= 120:
        return line
    start, _, rest = line.partition(": ")
    # A name within quotes must not be broken at a hyphen.
    body = textwrap.wrap(rest, 108, break_on_hyphens=False)
    return "\n".join([f"{start}: (", *(f"        {part}" for part in body), "    )"])


def _kinds(field: str, info: FieldInfo) -> list[str]:
    if field in SAMPLES:
        return ["DataLike", "None"]
    if field == "eval":
        return ["str", "Callable[[Any], float]", "None"]
    found = _of(info.annotation)
    validators = any(isinstance(item, BeforeValidator) for item in info.metadata)
    read = validators or "BeforeValidator" in repr(info.annotation)
    names = _choices(info.annotation)
    if (read or any(names.issuperset(table) for table in EXTENSIBLE)) and "str" not in found:
        found.append("str")
    return [*dict.fromkeys(item for item in found if item != "None"), *(["None"] if "None" in found else [])]


def _choices(kind: Any) -> set[Any]:
    """The names that a type lists."""
    inner = get_args(kind)
    return set(inner) if get_origin(kind) is Literal else set().union(*map(_choices, inner))


def _of(kind: Any) -> list[str]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _of(inner[0])
    if origin in (Union, types.UnionType):
        return [name for item in inner for name in _of(item)]
    if origin is Literal:
        return [f"Literal[{', '.join(repr(item).replace(chr(39), chr(34)) for item in inner)}]"]
    if origin is tuple:
        return [f"Sequence[{' | '.join(_items(inner))}]"]
    if origin is dict:
        return [f"Mapping[str, {' | '.join(_of(inner[1]))}]"]
    if kind is Path:
        return ["str", "PathLike[str]"]
    return ["None" if kind is type(None) else kind.__name__]


def _items(inner: tuple[Any, ...]) -> list[str]:
    """Kinds of the items of a tuple; a pair such as (GLOB, RATIO) is also written as text."""
    kinds = [item for item in inner if item is not Ellipsis]
    if len(kinds) == 1 and get_origin(kinds[0]) is tuple:
        parts = ", ".join(" | ".join(_of(item)) for item in get_args(kinds[0]))
        return [f"tuple[{parts}]", "str"]
    return list(dict.fromkeys(name for item in kinds for name in _of(item)))


if __name__ == "__main__":
    PLACE.write_text(text(), encoding="utf-8")
