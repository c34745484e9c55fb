"""The verifier: a rule that is wrong at a node costs the channels of that node, never a crash or a wrong file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from compressor.channels.coupling import Coupling, Policy
from compressor.channels.labels import Term
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune, ProofFailed
from compressor.graph.form.normalise import normalise
from compressor.operators import table
from compressor.operators.operator import Operator, Rules
from compressor.operators.sizes import infer
from compressor.operators.table import RULES
from compressor.steps.prune.result import PruneResult
from tests.models import MERGED_HEADS, between, in_memory, model, tokens
from tests.property.idioms import IDIOMS

Couple = Callable[[ir.Node, Coupling], None]

GRAPHS: Mapping[str, Callable[[], onnx.ModelProto]] = MappingProxyType(
    {
        "image": lambda: between(
            "r = Relu(a)  p, q = Split<axis=1>(r, half)  s = Add(p, q)  b = Concat<axis=1>(s, r)",
            more="int64[2] half = {8,8}",
            out=24,
        ),
        "tokens": lambda: tokens(
            "r = Relu(a)  t = Transpose<perm=[0,2,1]>(r)  u = Transpose<perm=[0,2,1]>(t)"
            "  n = LayerNormalization(u, sl, bl)  b = Add(n, r)",
            more="float[16] sl, float[16] bl",
        ),
        "heads": lambda: model(MERGED_HEADS),
        "shuffle": IDIOMS["network.shufflenet"],
        "recurrent": IDIOMS["network.tagger"],
    }
)


def planted(op: str, **wrong: Callable[..., None]) -> Rules:
    """The table with a record of which methods are wrong."""
    right = RULES["", op]
    kind = type("Wrong", (Operator,), {name: staticmethod(method) for name, method in wrong.items()})
    record = kind(**{field.name: getattr(right, field.name) for field in fields(right)})
    return MappingProxyType({**RULES, ("", op): record})


# ---- wrong rules ---------------------------------------------------------------------------------------------


def first_operand_alone(node: ir.Node, coupling: Coupling) -> None:
    coupling.label(node.outputs[0], coupling.layout(node.inputs[0]))


def first_output_alone(node: ir.Node, coupling: Coupling) -> None:
    first_operand_alone(node, coupling)


def turned(node: ir.Node, coupling: Coupling) -> None:
    rank = len(coupling.shape(node.outputs[0]))
    terms = coupling.layout(node.inputs[0])
    coupling.label(node.outputs[0], [Term(tuple(rank - 1 - a for a in t.axes), t.units) for t in terms])


def one_too_long(node: ir.Node, coupling: Coupling) -> None:
    terms = [t for t in coupling.layout(node.inputs[0]) if len(t.axes) == 1]
    coupling.label(node.outputs[0], [Term(t.axes, np.append(t.units, t.units[:1])) for t in terms])


def an_axis_too_many(node: ir.Node, coupling: Coupling) -> None:
    terms = coupling.layout(node.inputs[0])
    coupling.label(node.outputs[0], [Term(tuple(a + 9 for a in t.axes), t.units) for t in terms])


def labels_its_input(node: ir.Node, coupling: Coupling) -> None:
    first_operand_alone(node, coupling)
    coupling.label(node.inputs[0], [])


def shifted(node: ir.Node, coupling: Coupling) -> None:
    terms = coupling.layout(node.inputs[0])
    coupling.label(node.outputs[0], [Term(t.axes, np.roll(t.units, 1, -1)) for t in terms])


def raises(*_: object) -> None:
    raise IndexError("index 7 is out of bounds")


def nothing(*_: object) -> None:
    """Does not do what it should."""


PLANTED: Mapping[str, tuple[Rules, str]] = MappingProxyType(
    {
        "a missing operand": (planted("Add", couple=first_operand_alone), "says nothing of its input"),
        "an output too many": (planted("Split", couple=first_output_alone), "says nothing of its output"),
        "axes in another order": (planted("Transpose", couple=turned), "its shape is"),
        "labels one too long": (planted("Relu", couple=one_too_long), "its shape is"),
        "an axis that is not there": (planted("Relu", couple=an_axis_too_many), "name axes"),
        "labels of an input": (planted("Relu", couple=labels_its_input), "which is no output of it"),
        "a coupling that raises": (planted("Relu", couple=raises), "the rule for Relu failed on this node: IndexError"),
        "no outputs at all": (planted("MatMul", couple=nothing), "says nothing of its output"),
        "no repair of a reshape": (planted("Reshape", repair=nothing), "after the cut"),
        "a repair that raises": (planted("Split", repair=raises), "the rule for Split failed on this node: IndexError"),
        "a split that is not repaired": (planted("Split", repair=nothing), "after the cut"),
        "groups that are not repaired": (planted("Conv", repair=nothing), "after the cut"),
        "a hidden size that is not repaired": (planted("LSTM", repair=nothing), "after the cut"),
        "a mask that raises": (planted("MatMul", mask=raises), "failed on this node"),
    }
)


def pruned(name: str, rules: Rules, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> PruneResult:
    monkeypatch.setattr(table, "RULES", rules)
    return prune(in_memory(GRAPHS[name]()), PruneSettings.parse({"ratio": 0.5, "round_to": 1, **settings}))


@cache
def outcome(fault: str, graph: str) -> PruneResult | NothingToPrune:
    """One run for all that is asked of it."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            return pruned(graph, PLANTED[fault][0], patch)
        except NothingToPrune as nothing_left:
            return nothing_left


def reached() -> list[tuple[str, str]]:
    """Faults with the graphs that have the operator: on the others the run would be that of the right table."""
    operators = {name: {n.op_type for n in normalise(in_memory(make())).graph} for name, make in GRAPHS.items()}
    wrong = {
        fault: next(op for (domain, op), record in rules.items() if record is not RULES[domain, op])
        for fault, (rules, _) in PLANTED.items()
    }
    return [(fault, graph) for fault, op in wrong.items() for graph in GRAPHS if op in operators[graph]]


@pytest.mark.parametrize(("fault", "graph"), reached())
def test_every_file_is_valid_and_right(fault: str, graph: str) -> None:
    result = outcome(fault, graph)
    if isinstance(result, NothingToPrune):
        return
    assert result.report.proof is not None
    assert result.report.proof.passed
    proto = ir.to_proto(result.model)
    onnx.checker.check_model(proto)
    ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("fault", "graph"),
    [
        ("a missing operand", "image"),
        ("an output too many", "image"),
        ("axes in another order", "tokens"),
        ("labels one too long", "image"),
        ("an axis that is not there", "tokens"),
        ("labels of an input", "image"),
        ("a coupling that raises", "tokens"),
        ("no outputs at all", "tokens"),
        ("a repair that raises", "image"),
        ("a split that is not repaired", "image"),
        ("no repair of a reshape", "heads"),
        ("groups that are not repaired", "shuffle"),
        ("a hidden size that is not repaired", "recurrent"),
        ("a mask that raises", "heads"),
    ],
)
def test_the_reason_is_told(fault: str, graph: str) -> None:
    result, reason = outcome(fault, graph), PLANTED[fault][1]
    rows = list(result.frozen if isinstance(result, NothingToPrune) else result.report.frozen)
    assert any(reason in row.reason and row.node for row in rows), [row.reason for row in rows]


def test_what_no_shape_shows_fails_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProofFailed):
        pruned("tokens", planted("Relu", couple=shifted), monkeypatch)


def test_a_later_label_of_an_input_is_noticed() -> None:
    """In one pass the rule of Add has nothing to miss: its second operand gets channels further down."""
    source = in_memory(
        model("""
        (float[3,8] x) => (float[3,2] y) <float[8,16] w, float[16] bias, float[16,2] v> {
            a = MatMul(x, w)  b = Add(a, bias)  c = Mul(a, bias)  d = Mul(b, c)  y = MatMul(d, v) }""")
    )
    normal = normalise(source)
    rules = planted("Add", couple=first_operand_alone)
    coupling = Coupling(normal.graph, infer(normal), rules, Policy()).run()
    assert coupling.distrusted == {"Add_1": "the rule for Add says nothing of its input bias, which has channels"}


def test_lossless_survives_a_rule_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NothingToPrune):
        pruned("tokens", planted("MatMul", learn=raises), monkeypatch, ratio=None, lossless=True)
