"""Operators are named in three rooms; every other module asks the table of records."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from importlib import import_module
from pathlib import Path

import onnx

import compressor
from compressor.operators.table import RULES

ROOT = Path(compressor.__file__).parent
ROOMS = ("graph", "operators", "torch_ops")
"""Where operators may be named: the format itself, the records, the kernels."""
BUILDERS = frozenset({"Node", "node", "_node", "node_of", "exists"})
"""Calls that make a node, or ask whether an operator set has it; what they make has to be named."""
NAMES = frozenset(schema.name for schema in onnx.defs.get_all_schemas_with_history()) | {name for _, name in RULES}
ROOMS_OF_NAMES = ("compressor.graph", "compressor.operators")
OUTSIDE = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in ROOMS]


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every operator that is named as a string, except where a node of it is made."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Constant) and node.value in NAMES:
            yield node.lineno, node.value
        elif isinstance(node, ast.Call) and _name(node.func) in BUILDERS:
            for argument in [*node.args, *node.keywords]:
                if not isinstance(argument, ast.Constant):
                    yield from named(argument)
        else:
            yield from named(node)


def collected(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything imported from a room that is a set of operators, such as a comparison could ask."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(ROOMS_OF_NAMES):
            module = import_module(str(node.module))
            for alias in node.names:
                value = getattr(module, alias.name, None)
                if isinstance(value, Set | Mapping | tuple) and any(isinstance(e, str) and e in NAMES for e in value):
                    yield node.lineno, alias.name


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_no_operator_is_named() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), line, operator)
        for path in OUTSIDE
        for tree in [ast.parse(path.read_text(encoding="utf-8"))]
        for line, operator in (*named(tree), *collected(tree))
    }
    assert not found, "ask compressor.operators.table.operator_of for the fact instead"


def test_this_test_sees_names() -> None:
    code = """
if node.op_type == "Conv": pass
KINDS = frozenset({"Gemm"})
made = ir.node("Add", [f("Relu")], domain="")
match node.op_type:
    case "Softmax": pass
"""
    assert [name for _, name in named(ast.parse(code))] == ["Conv", "Gemm", "Relu", "Softmax"]
    assert list(collected(ast.parse("from compressor.graph.ir.randomness import RANDOM, draws"))) == [(1, "RANDOM")]
