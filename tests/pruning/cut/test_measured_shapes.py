"""Behind an operator that nobody knows, shapes come from a run, and only what it touches stays."""

from __future__ import annotations

import onnx
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings, RunSettings
from compressor.errors import NothingToPrune
from compressor.graph.form.normalise import normalise
from compressor.pruning.cut import measured_shapes
from compressor.pruning.cut.measured_shapes import shapes_of
from compressor.steps import counts
from compressor.steps.prune.result import PruneResult
from tests.models import in_memory, model

TRUNK = """
    (float[N,T,16] x) => (float y)
    <float[16] g, float[16] b, float[16,32] u, float[32,16] d, float[16,3] head, int64[3] to = {0,0,-1}> {
        t = com.microsoft.SampleOp(x)
        h = LayerNormalization(t, g, b)  i = MatMul(h, u)  r = Relu(i)  o = MatMul(r, d)
        s = Add(o, t)  q = Reshape(s, to)  y = MatMul(q, head) }"""
"""SampleOp is ONNX Runtime's own; nothing in the file tells what it makes."""
SETTINGS = PruneSettings(ratio=0.5, round_to=1)


def trunk() -> onnx.ModelProto:
    return model(TRUNK, domains=("com.microsoft",), checked=False)


def small() -> PruneResult:
    return prune(in_memory(trunk()), SETTINGS)


def test_what_is_behind_it_is_pruned() -> None:
    result = small()
    assert {g.name: g.removed for g in result.report.groups} == {"u": 16}
    assert result.report.proof is not None
    assert result.report.proof.passed
    assert any("t meets it in Add" in row.reason for row in result.report.frozen)


def test_macs_are_partial() -> None:
    result = small()
    assert result.report.input.uncounted == 1
    assert any("MACs are partial" in text for text in result.report.warnings)
    found = counts.stats_in_memory(result.model, SETTINGS)
    assert found.uncounted == 1
    assert 0 < found.macs < result.report.input.macs


def test_sizes_stay_open() -> None:
    normal = normalise(in_memory(trunk()))
    found = shapes_of(normal, RunSettings())
    (t,) = next(iter(normal.graph)).outputs
    assert found(t) == (*found.inputs["x"][:2], 16)
    assert found.dynamic(t) == [True, True, True]  # the file does not say that 16 is always 16


def test_what_depends_on_data_stays_open() -> None:
    source = in_memory(
        model("""(float[N,16] x) => (float y) <float[16] g, float[16,8] u, float[8,3] head, float zero = {0}> {
            c = Greater(x, zero)  p = NonZero(c)  f = Cast<to=1>(p)  t = com.microsoft.SampleOp(f)
            s = ReduceSum(t)  i = MatMul(x, u)  r = Add(i, s)  y = MatMul(r, head) }""",
              domains=("com.microsoft",), checked=False)
    )  # fmt: skip
    normal = normalise(source)
    found = shapes_of(normal, RunSettings())
    sizes = {str(v.name): (found(v), found.dynamic(v)) for v in found.measured}
    assert sizes["p"][0] is not None
    assert sizes["p"][1] == [False, True]
    assert sizes["t"][1] == [True, True]


def test_channels_of_as_many_rows_as_numbers_decide() -> None:
    """Rows above a threshold, as a detector picks them: their number is open, their channels are known."""
    text = """(float[N,16] x) => (float[r,c] y) <float[16,12] w, float[12,8] u, float[8,3] head, float zero = {0}> {
        a = MatMul(x, w)  b = Relu(a)  m = ReduceMean<keepdims=0, axes=[1]>(x)  c = Greater(m, zero)
        p = NonZero(c)  i = Transpose<perm=[1,0]>(p)  r = GatherND(b, i)
        d = MatMul(r, u)  e = Relu(d)  y = MatMul(e, head) }"""
    report = prune(in_memory(model(text, opset=17)), SETTINGS).report
    assert {row.name: row.removed for row in report.groups} == {"w": 6, "u": 4}
    assert report.proof is not None
    assert not report.proof.not_proved


def test_a_model_that_does_not_run_is_analysed_all_the_same() -> None:
    source = in_memory(
        model("""(float[N,16] x) => (float y) <float[16,8] u, float[8,3] head> {
            t = acme.Whirl(x)  i = MatMul(t, u)  y = MatMul(i, head) }""", domains=("acme",), checked=False)
    )  # fmt: skip
    with pytest.raises(NothingToPrune) as nothing:
        prune(source, PruneSettings(ratio=0.5, round_to=1, verify=False))
    assert [row.reason for row in nothing.value.frozen if row.value == "u"] == ["MatMul: the shape of t is not known"]


def test_no_run_where_every_shape_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a run would cost time")

    monkeypatch.setattr(measured_shapes, "_run", fail)
    source = in_memory(
        model("(float[N,16] x) => (float y) <float[16,8] u, float[8,3] v> { a = MatMul(x, u) y = MatMul(a, v) }")
    )
    shapes_of(normalise(source), RunSettings())
