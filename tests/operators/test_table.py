"""Every rule under conformance: an operator in the table has a model in which it sits between prunable layers."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import onnx_ir as ir
import pytest
from onnx.defs import get_schema
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

import compressor.operators
from compressor.graph.ir.captures import captured_values
from compressor.operators.facts import EVERY
from compressor.operators.signature import Signature
from compressor.operators.table import FAMILIES, RULES
from compressor.pruning.cut.analysis import prepared_model
from tests.models import in_memory

from .case import Case
from .every import CASES

COUPLED = sorted(key for key, operator in RULES.items() if operator.coupled)
"""Operators through which channels flow."""

UNREGISTERED = ("", "SimplifiedLayerNormalization")
"""ONNX Runtime takes it in ONNX's own domain, where neither registers it."""


@lru_cache(maxsize=1)
def prepared() -> list[tuple[Case, ir.Model, ir.Model]]:
    """All cases, as they are and as they are cut."""
    models = [(case, in_memory(case.build())) for case in CASES]
    return [(case, before, prepared_model(before, case.options)[0]) for case, before in models]


@lru_cache(maxsize=1)
def used() -> dict[tuple[str, str], list[Case]]:
    """Operator -> the cases in which it reads what a weight made, and makes what a weight reads.

    Of the graph that is cut: an operator that was folded or written otherwise before shows nothing of its rule.
    """
    found: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case, _, model in prepared():
        graph = model.graph
        made, read = reach(graph, forward=True), reach(graph, forward=False)
        for node in graph:
            if node in made and node in read:
                found[node.domain, node.op_type].append(case)
    return found


def reach(graph: ir.Graph, *, forward: bool) -> set[ir.Node]:
    """Nodes downstream of a weight of rank 2 or more (upstream of one, with ``forward`` off), themselves included."""
    found: set[ir.Node] = set()
    nodes = list(graph) if forward else list(graph)[::-1]
    for node in nodes:
        read = [v for v in [*node.inputs, *captured_values(node)] if v is not None]
        heavy = any(v.is_initializer() and len(v.shape or ()) > 1 for v in read)
        near = [v.producer() for v in read] if forward else [n for v in node.outputs for n, _ in v.uses()]
        if heavy or any(n in found for n in near):
            found.add(node)
    return found


BETWEEN = [key for key in COUPLED if key != ("", "SequenceEmpty")]
"""Those that read something; what starts from nothing stands behind no layer."""


@pytest.mark.parametrize("key", BETWEEN, ids=lambda key: key[1])
def test_every_rule_is_under_conformance(key: tuple[str, str]) -> None:
    assert used()[key], f"no case in tests/operators has {key[1]} between two layers"


@pytest.mark.parametrize("key", BETWEEN, ids=lambda key: key[1])
def test_every_rule_lets_channels_through_somewhere(key: tuple[str, str]) -> None:
    """At least one case of each operator removes channels of the layer in front of it."""
    assert [case for case in used()[key] if "w" in case.removed or "u" in case.removed]


REWRITTEN = {
    "Identity dropped", "Dropout 22", "Attention of three in one", "Attention of three in one by dims",
    "Tile of an activation over space", "Tile of an index over the channels that it gathers",
    "Tile of a stretched axis", "Shape in a scale folded", "Size folded",
}  # fmt: skip
"""Cases of what is folded, or written otherwise, before anything is cut."""


def test_cases_cut_the_operator_that_they_are_named_for() -> None:
    """One that is folded by mistake shows nothing of its rule, and passes all the same."""
    gone = set()
    for case, before, after in prepared():
        op = case.name.partition(" ")[0]
        held = [op in {node.op_type for node in model.graph.all_nodes()} for model in (before, after)]
        gone |= {case.name} if held == [True, False] else set()
    assert gone == REWRITTEN


def test_case_names_are_distinct() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


def test_no_operator_stands_in_two_records() -> None:
    claimed = [(one.domain, one.name) for family in FAMILIES for one in family.OPERATORS]
    assert len(claimed) == len(set(claimed)) == len(RULES)


def test_every_family_is_in_the_table() -> None:
    folder = Path(compressor.operators.__file__).parent
    holders = {
        path.stem
        for path in folder.glob("*.py")
        if any(
            isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "OPERATORS"
            for n in ast.parse(path.read_text()).body
        )
    }
    assert holders == {family.__name__.rpartition(".")[2] for family in FAMILIES}


def test_operators_exist() -> None:
    """In ONNX, or in ONNX Runtime's own domain."""
    runtime = {(schema.domain, schema.name) for schema in get_all_operator_schema()}
    for domain, op in set(RULES) - {UNREGISTERED}:
        assert (domain, op) in runtime if domain else get_schema(op, domain).name == op


STANDARD = sorted(name for domain, name in RULES if not domain and ("", name) != UNREGISTERED)


@pytest.mark.parametrize("name", STANDARD)
def test_facts_name_inputs_and_attributes_that_exist(name: str) -> None:
    record, schema = RULES["", name], get_schema(name, "")
    told = [*record.statistics, *record.settings, *record.host, *([] if record.bias is None else [record.bias])]
    told += [k for of in (record.addends, record.subtracted, record.scale) if of is not EVERY for k in of]
    assert max(told, default=-1) < schema.max_input
    attributes = {source for source in record.sizes.values() if isinstance(source, str)}
    assert attributes | ({record.factor, record.bias_factor} - {""}) <= set(schema.attributes)
    if isinstance(record.signature, str) and record.signature:
        assert len(Signature.parse(record.signature).operands) <= schema.max_input


@pytest.mark.parametrize("name", STANDARD)
def test_an_input_is_said_to_be_one_thing(name: str) -> None:
    record = RULES["", name]
    kinds = (record.statistics, record.settings, record.host, record.addends, record.subtracted, record.scale)
    for index in range(8):
        assert sum(index in of for of in kinds) + (index == record.bias) <= 1
