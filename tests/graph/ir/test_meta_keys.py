"""Whatever travels in ``.meta`` goes by a key of the list."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import compressor
from compressor.graph.ir import meta_keys

ROOT = Path(compressor.__file__).parent
READING = {"get", "pop", "setdefault"}
KEYS = {name for name in vars(meta_keys) if name.isupper() and name != "OWN_PREFIX"}


def keys(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of everything by which a ``.meta`` is read or written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _is_meta(node.value):
            yield node.lineno, ast.unparse(node.slice)
        elif isinstance(node, ast.Compare) and _is_meta(node.comparators[0]):
            yield node.lineno, ast.unparse(node.left)
        elif isinstance(node, ast.Call) and _reads_meta(node.func):
            yield node.lineno, ast.unparse(node.args[0])


def _reads_meta(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in READING and _is_meta(function.value)


def _is_meta(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "meta"


def test_keys_of_meta_are_on_the_list() -> None:
    used = set()
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT)
        # There, ``meta`` is that of click's context.
        if place.parts[0] == "cli":
            continue
        found = set(keys(ast.parse(path.read_text(encoding="utf-8"))))
        assert {key for _, key in found} <= KEYS, f"{place}: {sorted(found)}"
        used |= {key for _, key in found}
    assert used == KEYS, "keys that nobody uses"


def test_keys_differ() -> None:
    assert len({getattr(meta_keys, name) for name in KEYS}) == len(KEYS)
