"""Records that a file brings: operators of other domains, in the notation of signatures.

operators:
  - operator: my.domain::ScaledGate
    signature: "n c *s, c? -> n c *s"
    sizes: {g: groups}
    factors: [0, 1]

What such a file claims is trusted no more than a record of this package: labels are held against shapes, and the proof
against both models (``channels/verify.py``, ``pruning/proofs/proof.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.config.section import did_you_mean
from compressor.core.plain_yaml import parsed, read_text
from compressor.errors import UsageError
from compressor.graph.ir.nodes import STANDARD
from compressor.operators.operator import Operator
from compressor.operators.signature import Item, Signature, axis_names
from compressor.operators.table import RULES

KEYS = ("operator", "signature", "sizes", "factors", "bias", "work", "keeps_zero", "pointwise")
WORD = "[a-z][a-z0-9_]*"
TOKEN = re.compile(rf"\*{WORD}|{WORD}|\[\*?{WORD}\]|\((?:{WORD}|\[{WORD}\])(?: (?:{WORD}|\[{WORD}\]))*\)")
"""An axis: a name, any number of axes, either of them fixed, or a row-major split."""


def read_records(path: Path) -> list[Operator]:
    """The records of a file.

    Raises:
        UsageError: it cannot be read, or an entry is no record; names the entry, the key and what is wrong.
    """
    try:
        values = parsed(read_text(path))
        entries = values.get("operators") if isinstance(values, dict) else None
        if not isinstance(entries, list) or not entries or set(values) != {"operators"}:
            raise UsageError("a file of rules is a mapping with the one key operators, a list of records")
        found: dict[tuple[str, str], Operator] = {}
        for number, entry in enumerate(entries, 1):
            record = _record(entry, f"operator {number}")
            key = (record.domain, record.name)
            if key in found or key in RULES:
                where = "in this file already" if key in found else "built in, and cannot be replaced"
                raise UsageError(f"operator {number}: {record.domain}::{record.name} is {where}")
            found[key] = record
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return list(found.values())


def _record(entry: Any, where: str) -> Operator:
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is a mapping with the keys {', '.join(KEYS)}")
    for key in entry:
        if key not in KEYS:
            raise UsageError(f"{where}: unknown key {key!r}{did_you_mean(key, KEYS)}")
    name, text = (_text(entry, key, where) for key in ("operator", "signature"))
    domain, _, kind = name.rpartition("::")
    # Only \w, as in a name of an operator: it goes into messages and is looked up as it is.
    if not re.fullmatch(r"\w+", kind) or domain in STANDARD or not re.fullmatch(r"[\w.\-]+", domain):
        raise UsageError(f"{where}: write the operator as domain::Name; ONNX's own operators are built in")
    where = f"{where} ({name})"
    signature = parse_signature(text, where)
    inputs = len(signature.operands)
    bias = _numbers([entry["bias"]], "bias", inputs, where)[0] if "bias" in entry else None
    return Operator(
        kind,
        domain,
        signature=" ".join(text.split()),
        sizes=_sizes(entry.get("sizes", {}), signature, where),
        factors=tuple(_numbers(entry.get("factors", []), "factors", inputs, where)),
        work=_work(entry.get("work", ""), signature, where),
        bias=bias,
        keeps_zero=_truth(entry, "keeps_zero", where),
        pointwise=_truth(entry, "pointwise", where),
    )


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: the key {key!r} is missing, or is no text")
    return value


def _truth(entry: Mapping[str, Any], key: str, where: str) -> bool:
    # The reader leaves every scalar as text.
    value = entry.get(key, "false")
    if value not in ("true", "false"):
        raise UsageError(f"{where}: {key} is true or false, not {value!r}")
    return bool(value == "true")


def _numbers(values: Any, key: str, inputs: int, where: str) -> list[int]:
    found = values if isinstance(values, list) else [values]
    # Not isdigit, which takes superscripts for digits that int() cannot read.
    if not all(isinstance(v, str) and v.isdecimal() and int(v) < inputs for v in found) or len(set(found)) < len(found):
        raise UsageError(f"{where}: {key} are inputs by number, below {inputs}, each once; not {values!r}")
    return [int(v) for v in found]


def _names(signature: Signature) -> set[str]:
    return {name for own in (*signature.operands, *signature.outputs) for item in own for name in item.names}


def _sizes(values: Any, signature: Signature, where: str) -> dict[str, str | int]:
    if not isinstance(values, dict):
        raise UsageError(f"{where}: sizes is a mapping from names of axes to attributes or numbers")
    found: dict[str, str | int] = {}
    for key, source in values.items():
        # The text of a number or the name of an attribute: nothing is evaluated, as the file may come from anywhere.
        strange = set(axis_names(key)) - _names(signature)
        if strange or not isinstance(source, str) or not re.fullmatch(r"[1-9]\d*|[A-Za-z_]\w*", source):
            problem = f"{source!r} is no attribute"
            if strange:
                problem = f"{sorted(strange)[0]!r} is no name of its signature"
            raise UsageError(f"{where}: sizes: {key}: {problem}")
        found[key] = int(source) if source.isdigit() else source
    return found


def _work(value: Any, signature: Signature, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where}: work is text, products of axes with + between them")
    for word in value.replace("+", " ").split():
        if word.strip("()").lstrip("*") not in _names(signature):
            raise UsageError(f"{where}: work: {word!r} is no name of its signature")
    return value


def parse_signature(text: str, where: str) -> Signature:
    """A signature from outside, whose every token is held against the notation.

    Raises:
        UsageError: it is no signature; names what cannot be read.
    """
    left, arrow, right = text.partition("->")
    if not arrow or "->" in right:
        raise UsageError(f"{where}: signature: write operands, -> and outputs, such as n c *s, c? -> n c *s")
    operands, outputs = ([part.strip() for part in side.split(",")] for side in (left, right))
    if operands[-1] == "..." and len(operands) > 1:
        # The dots stand for more operands like the one before.
        operands = operands[:-1]
    for part in operands + outputs:
        plain = part.removesuffix("?") if part in operands else part
        if plain and not _readable(plain):
            raise UsageError(f"{where}: signature: cannot read {part!r}; an axis is c, *s, [c], [*s] or (g c)")
    signature = Signature.parse(" ".join(text.split()))
    for own in (*signature.operands, *signature.outputs):
        if sum(item.star for item in own) > 1:
            raise UsageError(f"{where}: signature: an operand has at most one item with a star")
    known = {name for own in signature.operands for item in own for name in item.names}
    for item in [item for own in signature.outputs for item in own]:
        # A name that no operand has would get its labels from nowhere.
        loose = [name for name in item.names if name not in known and name not in item.fixed]
        if loose:
            raise UsageError(f"{where}: signature: {loose[0]!r} is in no operand; write [{_shown(item)}] if it is made")
    return signature


def _shown(item: Item) -> str:
    return f"*{item.names[0]}" if item.star else " ".join(item.names)


def _readable(part: str) -> bool:
    """Is ``part`` a row of axes?"""
    rest = part
    while rest:
        found = TOKEN.match(rest)
        if found is None or not (rest[found.end() :] == "" or rest[found.end()] == " "):
            return False
        rest = rest[found.end() :].lstrip()
    return True
