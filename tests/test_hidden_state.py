"""Nothing in the package remembers: what a function does follows from what it is given."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import compressor

ROOT = Path(compressor.__file__).parent
MODULES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}

ENVIRONMENT = {"environ", "environb", "getenv", "putenv", "unsetenv"}
ROOM = "core/machine.py"
"""Where the environment is read and set."""
WRITABLE = {"dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "ContextVar", "local"}
Display = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def scopes(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run at import: those of the module, of its classes, and of what stands under an if or with."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from scopes([child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)])


def writable(value: ast.expr | None) -> bool:
    called = value.func if isinstance(value, ast.Call) else None
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    return isinstance(value, Display) or name in WRITABLE


def state_of(text: str) -> list[str]:
    """Lines on which a module makes something that it could write to later, or writes to a name of its own."""
    tree = parsed(text)
    found = [
        ast.unparse(statement)
        for statement in scopes(tree.body)
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and writable(statement.value)
        and "__all__" not in ast.unparse(statement)
    ]
    return found + [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Global)]


def surroundings_of(text: str) -> list[str]:
    """Uses of the environment."""
    found = []
    for node in ast.walk(parsed(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        names += [node.attr] if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" else []
        found += [ast.unparse(node)] if ENVIRONMENT.intersection(names) else []
    return found


def test_tables_cannot_be_written_to() -> None:
    found = {module: state for module, path in MODULES.items() if (state := state_of(text_of(path)))}
    assert not found, "make it a MappingProxyType, a tuple or a frozenset, or hold it in an object that is handed on"


def test_the_environment_is_read_and_set_in_one_room() -> None:
    found = {module: uses for module, path in MODULES.items() if (uses := surroundings_of(text_of(path)))}
    assert set(found) == {ROOM}, "ask compressor.core.machine"


@pytest.mark.parametrize(
    "text",
    [
        "SEEN = {}",
        "SEEN: dict[str, int] = {'a': 1}",
        "SEEN = list()",
        "if True:\n    SEEN = [n for n in range(2)]",
        "class A:\n    seen = set()",
        "from collections import defaultdict\nSEEN = defaultdict(int)",
        "NOW = ContextVar('now')",
        "N = 0\ndef count():\n    global N\n    N += 1",
    ],
)
def test_this_test_sees_state(text: str) -> None:
    assert state_of(text)
    assert not state_of("__all__ = ['a']\nTABLE = MappingProxyType({'a': 1})\ndef f():\n    return {}")


@pytest.mark.parametrize("text", ["os.environ['A']", "from os import getenv", "x = {**os.environ}", "os.getenv('A')"])
def test_this_test_sees_the_environment(text: str) -> None:
    assert surroundings_of(text)
    assert not surroundings_of("from compressor.results.environment import environment\nreport.environment")
