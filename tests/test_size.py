"""Files, functions and parameter lists stay small enough to read."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from statistics import median

import pytest

import compressor

ROOT = Path(compressor.__file__).parent
FILES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
MAX_FILE, MEDIAN_FILE, MAX_FUNCTION, MAX_PARAMETERS = 400, 150, 60, 6
FLAGS = "cli"  # a command's parameters are its flags

Function = ast.FunctionDef | ast.AsyncFunctionDef


@lru_cache
def functions(path: Path) -> tuple[Function, ...]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameters(node: Function) -> list[str]:
    """Names of all parameters, without the instance or class."""
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    names += [a.arg for a in (node.args.vararg, node.args.kwarg) if a is not None]
    return [n for n in names if n not in ("self", "cls")]


@pytest.mark.parametrize("name", FILES)
def test_files_are_short(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= MAX_FILE


def test_most_files_are_much_shorter() -> None:
    assert median(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES.values()) <= MEDIAN_FILE


@pytest.mark.parametrize("name", FILES)
def test_functions_are_short(name: str) -> None:
    long = {
        f.name: lines for f in functions(FILES[name]) if (lines := (f.end_lineno or 0) - f.lineno + 1) > MAX_FUNCTION
    }
    assert not long


@pytest.mark.parametrize("name", [n for n in FILES if not n.startswith(FLAGS)])
def test_functions_take_few_parameters(name: str) -> None:
    many = {f.name: names for f in functions(FILES[name]) if len(names := parameters(f)) > MAX_PARAMETERS}
    assert not many
