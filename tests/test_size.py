"""Files, functions and parameter lists stay small enough to read."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from statistics import median

import compressor

ROOT = Path(compressor.__file__).parent
FILES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
MAX_FILE, MEDIAN_FILE, MAX_FUNCTION, MAX_PARAMETERS = 400, 150, 60, 6

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def functions(path: Path) -> tuple[Function, ...]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameters(node: Function) -> list[str]:
    """Names of all parameters, without the instance or class."""
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    names += [a.arg for a in (node.args.vararg, node.args.kwarg) if a is not None]
    return [n for n in names if n not in ("self", "cls")]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_short() -> None:
    assert not {name: lines(path) for name, path in FILES.items() if lines(path) > MAX_FILE}


def test_most_files_are_much_shorter() -> None:
    assert median(lines(path) for path in FILES.values()) <= MEDIAN_FILE


def test_functions_are_short() -> None:
    assert not {
        (name, f.name): length
        for name, path in FILES.items()
        for f in functions(path)
        if (length := (f.end_lineno or 0) - f.lineno + 1) > MAX_FUNCTION
    }


def test_functions_take_few_parameters() -> None:
    assert not {
        (name, f.name): names
        for name, path in FILES.items()
        for f in functions(path)
        if len(names := parameters(f)) > MAX_PARAMETERS
    }
