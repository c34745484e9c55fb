"""An If that shapes decide gives way to the branch that runs."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from compressor.graph.form import clean
from compressor.graph.form.branches import take_branches
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from tests.models import in_memory, model

RANK = "s = Shape(x)  k = Size(s)  c = Equal(k, {other})"
TEXT = """(float[n,4] x) => ({results}) <int64 zero = {{0}}, int64 two = {{2}}, int64[1] all = {{-1}}> {{ {nodes} }}"""
CHOICE = (
    "If(c) <then_branch = t () => (float[m] p) { p = Reshape(x, all) },"
    " else_branch = e () => (float[n,4] p) { p = Tanh(x) }>"
)


def taken(results: str, nodes: str, other: str = "zero") -> tuple[list[str], onnx.ModelProto, onnx.ModelProto]:
    proto = model(TEXT.format(results=results, nodes=f"{RANK.format(other=other)}  {nodes}"))
    source = normalise(in_memory(proto))
    shapes = infer(source)
    assert take_branches(source, shapes)
    clean.simplify(source, shapes)
    return [node.op_type for node in source.graph], proto, ir.to_proto(source)


def outputs(proto: onnx.ModelProto) -> list[np.ndarray]:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    return [np.asarray(array) for array in session.run(None, {"x": x})]


@pytest.mark.parametrize(
    ("results", "nodes", "other", "left"),
    [
        ("float[n,4] y", f"b = {CHOICE}  y = Relu(b)", "zero", ["Tanh", "Relu"]),
        ("float[m] y", f"b = {CHOICE}  y = Relu(b)", "two", ["Reshape", "Relu"]),
        # A result of the model keeps its name.
        ("float[n,4] y", f"y = {CHOICE}", "zero", ["Tanh"]),
        # Values of two branches have one name.
        ("float[n,4] y", f"b = {CHOICE}  d = {CHOICE}  f = Neg(d)  y = Sub(b, f)", "zero", ["Tanh", "Neg", "Sub"]),
        # A branch inside a branch.
        (
            "float[n,4] y",
            f"b = If(c) <then_branch = o () => (float[n,4] w) {{ w = Neg(x) }}, else_branch = i () => (float[n,4] w)"
            f" {{ w = {CHOICE} }}>  y = Relu(b)",
            "zero",
            ["Tanh", "Relu"],
        ),
    ],
)
def test_only_the_branch_that_runs_is_left(results: str, nodes: str, other: str, left: list[str]) -> None:
    found, before, after = taken(results, nodes, other)
    assert found == left
    assert [value.name for value in after.graph.output] == [value.name for value in before.graph.output]
    for one, two in zip(outputs(before), outputs(after), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_the_caller_decides_stays() -> None:
    source = normalise(in_memory(model("""(float[n,4] x) => (float[n,4] y) <float two = {2}> {
        m = ReduceMax<keepdims=0>(x)  c = Greater(m, two)
        y = If(c) <then_branch = t () => (float[n,4] p) { p = Neg(x) },
                   else_branch = e () => (float[n,4] q) { q = Tanh(x) }> }""")))  # fmt: skip
    assert not take_branches(source, infer(source))
    assert "If" in [node.op_type for node in source.graph]
