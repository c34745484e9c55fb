"""Two models held against each other: equal ones pass, changed ones are caught and the place is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compressor.commands.verify import demand_equal, verify
from compressor.config.verify import VerifySettings
from compressor.errors import NothingToProve, ProofFailed, ProviderUnavailable, UsageError
from compressor.evaluate import bisect
from compressor.pruning.proofs.outputs.standard import DRAWN
from tests.models import model

NET = """
(float[n,4,6,6] x) => (float y, float z) <float[8,4,3,3] w, float[8] b, float[8,8,1,1] v, float[8,3] u> {
    a = Conv<pads=[1,1,1,1]>(x, w, b)
    c = Relu(a)
    d = Conv(c, v)
    e = Add(c, d)
    f = GlobalAveragePool(e)
    g = Flatten(f)
    y = MatMul(g, u)
    z = Sigmoid(d)
}"""


def write(folder: Path, name: str, proto: onnx.ModelProto) -> Path:
    onnx.save(proto, str(folder / name))
    return folder / name


def scaled(proto: onnx.ModelProto, weight: str, factor: float) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    tensor = next(t for t in changed.graph.initializer if t.name == weight)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), weight))
    return changed


@pytest.fixture
def net() -> onnx.ModelProto:
    return model(NET)


@pytest.fixture
def a(tmp_path: Path, net: onnx.ModelProto) -> Path:
    return write(tmp_path, "a.onnx", net)


def test_a_model_equals_itself_at_several_shapes(a):
    found = verify(a, a, VerifySettings())
    assert found.passed
    assert [row.name for row in found.outputs] == ["y", "z"]
    assert all(row.max_abs_err == 0 and row.cosine == pytest.approx(1) for row in found.outputs)
    assert found.outputs[0].agreement == 1
    assert found.outputs[1].agreement is None
    batches = {run.inputs["x"][0] for run in found.runs}
    assert 1 in batches
    assert len(batches) == 3
    assert found.divergence is None
    demand_equal(found)


@pytest.mark.parametrize(
    ("weight", "node", "first"), [("w", "Conv_0", "a"), ("v", "Conv_2", "d"), ("u", "MatMul_6", "y")]
)
def test_the_first_node_that_differs_is_named_with_its_weight(tmp_path, net, a, weight, node, first):
    b = write(tmp_path, "b.onnx", scaled(net, weight, 1.01))
    found = verify(a, b, VerifySettings())
    assert not found.passed
    assert found.divergence is not None
    assert found.divergence.first is not None
    assert (found.divergence.first.node, found.divergence.first.value) == (node, first)
    assert found.divergence.weights == [weight]
    names = [layer.value for layer in found.divergence.layers]
    assert all(layer.passed for layer in found.divergence.layers[: names.index(first)])
    with pytest.raises(ProofFailed, match=rf"the first node that differs is '{node}'"):
        demand_equal(found)


def test_a_difference_within_tolerance_passes(tmp_path, net, a):
    b = write(tmp_path, "b.onnx", scaled(net, "u", 1.01))
    assert verify(a, b, VerifySettings(rtol=0.011)).passed
    assert not verify(a, b, VerifySettings(rtol=0.009, bisect=False)).passed
    assert verify(a, b, VerifySettings(rtol=0, atol=10)).passed


def test_bisect_can_be_asked_for_and_left_out(tmp_path, net, a):
    same = verify(a, a, VerifySettings(bisect=True))
    assert same.divergence is not None
    assert same.divergence.first is None
    assert len(same.divergence.layers) == same.divergence.shared == same.divergence.total == 8
    b = write(tmp_path, "b.onnx", scaled(net, "w", 2))
    assert verify(a, b, VerifySettings(bisect=False)).divergence is None


def test_other_operators_with_the_same_outputs_are_equal(tmp_path, a):
    text = NET.replace("z = Sigmoid(d)", "k = Neg(d)\n h = Exp(k)\n one = Constant<value_float=1.0>()\n"
                       "i = Add(h, one)\n z = Reciprocal(i)")  # fmt: skip
    assert verify(a, write(tmp_path, "b.onnx", model(text)), VerifySettings()).passed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(float[n,4,6,6] x)", "(float[n,4,6,6] x, float[n] q)", "different inputs: .*a.onnx has x, .* has q, x"),
        ("float y, float z", "float y", "different outputs"),
        ("(float[n,4,6,6] x)", "(float[n,4,8,8] x)", r"input 'x' has shape \[n, 4, 6, 6\] in .* and \[n, 4, 8, 8\]"),
        ("u> {", "u> {\n t = Cast<to=7>(x)\n", "input 'x' is float in .* and int64 in"),
    ],
)
def test_models_with_other_signatures_are_refused(tmp_path, a, old, new, message):
    text = NET.replace(old, new)
    if "int64" in message:
        text = NET.replace("float[n,4,6,6] x", "int64[n,4,6,6] x0").replace("u> {", "u> {\n x = Cast<to=1>(x0)\n")
        proto = model(text)
        proto.graph.input[0].name = "x"
        for node in proto.graph.node:
            node.output[:] = ["x1" if name == "x" else name for name in node.output]
            node.input[:] = [{"x": "x1", "x0": "x"}.get(name, name) for name in node.input]
    else:
        proto = model(text, checked="q" not in new)
        if new == "float y":
            assert len(proto.graph.output) == 1
    b = write(tmp_path, "b.onnx", proto)
    with pytest.raises(UsageError, match=message) as caught:
        verify(a, b, VerifySettings())
    assert "\n" not in str(caught.value)


def test_a_fixed_batch_is_held_against_an_open_one(tmp_path, a):
    b = write(tmp_path, "b.onnx", model(NET.replace("[n,4", "[2,4")))
    for one, two in ((a, b), (b, a)):
        found = verify(one, two, VerifySettings())
        assert found.passed
        assert {run.inputs["x"][0] for run in found.runs} == {2}


def test_half_precision_is_held_against_its_original(tmp_path, a):
    half = model(NET.replace("float[", "float16[").replace("float y, float z", "float16 y, float16 z"))
    original = onnx.load(str(a))
    weights = {t.name: numpy_helper.to_array(t).astype(np.float16) for t in original.graph.initializer}
    for tensor in half.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    found = verify(a, write(tmp_path, "half.onnx", half), VerifySettings())
    assert found.passed
    assert (found.outputs[0].type_a, found.outputs[0].type_b) == ("float32", "float16")
    assert found.outputs[0].max_abs_err > 0


def test_data_is_read_in_batches(tmp_path, a):
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(10, 4, 6, 6)).astype(np.float32))
    found = verify(a, a, VerifySettings(data=str(tmp_path / "d.npz"), batch_size=4))
    assert [(run.source, run.inputs["x"][0]) for run in found.runs] == [("data", 4), ("data", 4), ("data", 2)]
    assert len(verify(a, a, VerifySettings(data=str(tmp_path / "d.npz"), samples=3)).runs) == 1
    fixed = write(tmp_path, "fixed.onnx", model(NET.replace("[n,4", "[4,4")))
    found = verify(a, fixed, VerifySettings(data=str(tmp_path / "d.npz")))
    assert [run.inputs["x"][0] for run in found.runs] == [4, 4]


def test_too_little_data_for_a_fixed_batch_is_an_error(tmp_path, a):
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 4, 6, 6), np.float32))
    fixed = write(tmp_path, "fixed.onnx", model(NET.replace("[n,4", "[4,4")))
    with pytest.raises(UsageError, match="takes 4 samples at a time, the data has 3"):
        verify(fixed, a, VerifySettings(data=str(tmp_path / "d.npz")))


def test_given_sizes_are_the_ones_that_run(a):
    found = verify(a, a, VerifySettings(dims={"n": 5}, trials=3))
    assert [run.inputs["x"] for run in found.runs] == [[5, 4, 6, 6]] * 3
    with pytest.raises(UsageError, match="no symbolic dimension 'm'"):
        verify(a, a, VerifySettings(dims={"m": 5}))


def test_a_provider_that_is_missing_is_an_error(a):
    with pytest.raises(ProviderUnavailable):
        verify(a, a, VerifySettings(provider_b="NoSuchExecutionProvider"))


def test_a_model_that_fails_where_the_other_runs_is_not_equal(tmp_path, a):
    text = NET.replace("u> {", "u, int64[4] shape> {").replace(
        "g = Flatten(f)", "g0 = Reshape(f, shape)\n g = Flatten(g0)"
    )
    proto = model(text, checked=False)
    tensor = next(t for t in proto.graph.initializer if t.name == "shape")
    tensor.CopyFrom(numpy_helper.from_array(np.asarray([3, 8, 1, 1]), "shape"))
    for mine, theirs in zip(proto.graph.output, onnx.load(str(a)).graph.output, strict=True):
        mine.CopyFrom(theirs)
    b = write(tmp_path, "b.onnx", proto)
    with pytest.raises(ProofFailed, match=r"b.onnx fails on inputs that .*a.onnx takes"):
        verify(a, b, VerifySettings())


# ---- the search -------------------------------------------------------------------------------------------------


def chain(count: int) -> str:
    weights = ", ".join(f"float[16,16] w{k}" for k in range(count))
    nodes = "\n".join(f"v{k + 1} = MatMul(v{k}, w{k})" for k in range(count))
    return f"(float[n,16] v0) => (float v{count}) <{weights}> {{ {nodes} }}"


@pytest.mark.parametrize("at", [0, 1, 17, 38, 39])
def test_a_bounded_number_of_sessions_finds_the_place_in_a_long_graph(tmp_path, monkeypatch, at):
    """Forty values of 16 KiB each, 16 KiB a session: no pass may open more than eight."""
    proto = model(chain(40))
    a, b = write(tmp_path, "a.onnx", proto), write(tmp_path, "b.onnx", scaled(proto, f"w{at}", 1.1))
    monkeypatch.setattr(bisect, "SESSIONS", 4)
    opened = []
    groups = bisect._groups

    def counted(*arguments):
        opened.append(groups(*arguments))
        return opened[-1]

    monkeypatch.setattr(bisect, "_groups", counted)
    found = verify(a, b, VerifySettings(dims={"n": 1 << 14}, bisect_memory=1, trials=1))
    assert found.divergence is not None
    assert found.divergence.first is not None
    assert found.divergence.first.node == f"MatMul_{at}"
    assert all(len(pass_) <= 4 and all(len(group) == 1 for group in pass_) for pass_ in opened)
    assert found.divergence.sessions == sum(map(len, opened)) <= 20


def test_values_of_other_shapes_are_left_out(tmp_path):
    narrow = """
    (float[n,4] x) => (float y) <float[4,%d] w, float[%d,3] v> {
        a = MatMul(x, w)
        b = Relu(a)
        y = MatMul(b, v)
    }"""
    a, b = (write(tmp_path, f"{k}.onnx", model(narrow % (k, k))) for k in (8, 6))
    found = verify(a, b, VerifySettings()).divergence
    assert found is not None
    assert [layer.value for layer in found.layers] == ["y"]
    assert (found.shared, found.total) == (1, 3)
    assert found.weights == ["v"]
    assert found.resized == ["a", "b"]
    with pytest.raises(
        ProofFailed, match=r"differs, of results of the same sizes, is .*; 'a' has other sizes in B before"
    ):
        demand_equal(verify(a, b, VerifySettings()))


def drawing(body: str = "z = RandomNormalLike(x)", before: str = "") -> onnx.ModelProto:
    """One output of two is drawn; the runtime draws other numbers where nodes stand ``before``."""
    return model(
        f"(float[2,4] x) => (float[2,4] y, float[2,4] z) <float[4,4] w> {{ {before} y = MatMul(x, w)  {body} }}"
    )


def test_what_is_drawn_is_not_compared_and_the_rest_is(tmp_path: Path) -> None:
    one, later = write(tmp_path, "one.onnx", drawing()), drawing(before="n = Neg(x)  m = Exp(n)")
    found = verify(one, write(tmp_path, "two.onnx", later), VerifySettings())
    drawn = next(row for row in found.outputs if row.name == "z")
    assert found.passed
    assert (drawn.compared, drawn.left_out) == (0, DRAWN)
    assert found.divergence is None
    assert found.warnings == [f"output 'z' was not compared: {DRAWN}"]
    demand_equal(found)
    other = verify(one, write(tmp_path, "other.onnx", scaled(later, "w", 1.1)), VerifySettings())
    with pytest.raises(ProofFailed, match="output 'y'"):
        demand_equal(other)


def test_a_draw_is_no_excuse_for_a_model_that_makes_no_other(tmp_path: Path) -> None:
    plain, drawn = write(tmp_path, "a.onnx", drawing("z = Identity(x)")), write(tmp_path, "b.onnx", drawing())
    with pytest.raises(ProofFailed, match="output 'z'"):
        demand_equal(verify(plain, drawn, VerifySettings()))


def test_where_all_is_drawn_nothing_is_shown(tmp_path: Path) -> None:
    text = "(float[2,4] x) => (float[2,4] y) { n = Neg(x)  m = Exp(n)  y = RandomUniformLike(x) }"
    one, two = (write(tmp_path, f"{k}.onnx", model(text.replace(old, ""))) for k, old in enumerate(("", "m = Exp(n)")))
    with pytest.raises(NothingToProve, match=f"can be compared: {DRAWN}"):
        demand_equal(verify(one, two, VerifySettings()))
