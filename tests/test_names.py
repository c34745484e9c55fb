"""A public name stands for one thing; those that two modules define are listed here, and why."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import compressor

ROOT = Path(compressor.__file__).parent
FRONTS = ("api.py", "interface/measures.py")
"""Python's side, whose functions are called as the commands are."""
TWINS = frozenset(
    # What every module of a family has.
    {"FAMILIES", "FUNCTIONS", "OPERATORS"}
    # Variables of types, and numbers of inputs by their name in the standard.
    | {"F", "Option", "R", "S", "T"}
    # Short names of types.
    | {"Feed", "Floats", "Named", "Observer", "Shape", "Tensor", "Tensors", "Tokens"}
    # Of an array, and of an operator that needs nothing of its node.
    | {"plain"}
)
"""Names that several modules define."""


def defined(tree: ast.Module) -> Iterator[str]:
    """Public names that a module defines."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = [part for target in targets for part in getattr(target, "elts", [target])]
            yield from (part.id for part in parts if isinstance(part, ast.Name))


def modules_by_name() -> dict[str, set[str]]:
    """Public name -> the modules that define it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        if path.name != "__init__.py" and module not in FRONTS:
            for name in defined(ast.parse(path.read_text(encoding="utf-8"))):
                if not name.startswith("_"):
                    found[name].add(module)
    return found


def test_no_other_name_stands_for_two_things() -> None:
    twins = {name: sorted(modules) for name, modules in modules_by_name().items() if len(modules) > 1}
    assert {name: twins[name] for name in twins.keys() - TWINS} == {}
    assert not TWINS - twins.keys(), "stand for one thing by now"


def test_this_test_sees_names() -> None:
    text = "A, B = 1, 2\nC: int = 3\n_d = 4\ndef e(): ...\nclass F:\n    g = 5\n"
    assert list(defined(ast.parse(text))) == ["A", "B", "C", "_d", "e", "F"]
    assert "OPERATORS" in modules_by_name()
