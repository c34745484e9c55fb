"""A model that is run in pieces gives what it gives as a whole, and is proved as such."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.core.arrays import Array
from compressor.errors import ModelError, ProofFailed
from compressor.graph.disk import files
from compressor.graph.tensors import weights
from compressor.pruning.proofs.runs import piecewise, whole_or_pieces
from compressor.pruning.proofs.runs.piecewise import ExternalWeights, Piecewise
from compressor.runtime.stored import Answers, Feed, Stored
from tests.models import in_memory, model

SETTINGS = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": "none", "criterion": "l2"})


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is large, and every weight is a piece."""
    monkeypatch.setattr(whole_or_pieces, "WHOLE_BYTES", 0)
    monkeypatch.setattr(piecewise, "PIECE_BYTES", 1)
    monkeypatch.setattr(piecewise, "INLINE_BELOW", 1)
    monkeypatch.setattr(weights, "LARGE_MODEL", 1)
    monkeypatch.setattr(weights, "PART_BYTES", 64)
    monkeypatch.setattr(files, "LARGE_MODEL", 1)
    monkeypatch.setattr("compressor.graph.disk.stream.EXTERNAL_FROM_BYTES", 1)


def residual() -> onnx.ModelProto:
    """Two blocks with a stream beside them, a shape that is computed first and used last, and a weight used twice."""
    return model("""
    (float[n,t,8] x) => (float y) <float[8,12] w1, float[12,8] w2, float[8,12] w3, float[12,8] w4, float[8] b> {
        size = Shape(x)
        a = MatMul(x, w1)
        c = Relu(a)
        d = MatMul(c, w2)
        e = Add(x, d)
        f = Add(e, b)
        g = MatMul(f, w3)
        h = Relu(g)
        i = MatMul(h, w4)
        j = Add(f, i)
        k = Add(j, b)
        y = Reshape(k, size)
    }""")


def feeds(*lengths: int) -> list[Feed]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((2, n, 8), np.float32)} for n in lengths]


@pytest.mark.usefixtures("small_limits")
def test_pieces_give_what_the_whole_gives(tmp_path: Path) -> None:
    made = in_memory(residual())
    pieces = Piecewise(made, tmp_path, "cpu")
    whole = Stored.write(made, tmp_path, "cpu").run(feeds(3, 5))
    split = pieces.run(feeds(3, 5))
    assert split.names == whole.names == ["y"]
    for one, two in zip(whole.outputs, split.outputs, strict=True):
        np.testing.assert_allclose(one[0], two[0], rtol=1e-5, atol=1e-6)
    assert len(pieces._pieces) > 4
    assert "pieces" in pieces.note


@pytest.mark.usefixtures("small_limits")
def test_feeds_that_a_model_does_not_take_are_left_out(tmp_path: Path) -> None:
    pieces = Piecewise(in_memory(residual()), tmp_path, "cpu")
    wrong: Feed = {"x": np.zeros((2, 3, 7), np.float32)}
    found = Answers.to_some(pieces, [wrong, *feeds(3, 5)], enough=2)
    assert [feed["x"].shape for feed in found.runs.feeds] == [(2, 3, 8), (2, 5, 8)]
    with pytest.raises(ModelError):
        pieces.run([wrong])


def test_weights_are_read_where_they_are(tmp_path: Path) -> None:
    made = in_memory(model("(float[2,32] x) => (float[2,32] y) <float[32,32] w> { y = MatMul(x, w) }"))
    array = np.eye(32, dtype=np.float32)
    made.graph.initializers["w"].const_value = ir.tensor(array, name="w")
    live = ExternalWeights(made, tmp_path).open()
    x = np.ones((2, 32), np.float32)
    np.testing.assert_array_equal(live.run([{"x": x}]).outputs[0][0], x)
    array *= 2
    np.testing.assert_array_equal(live.run([{"x": x}]).outputs[0][0], 2 * x, "the runtime made a copy")


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16"])
def test_weights_are_lent_in_any_type(kind: str, tmp_path: Path) -> None:
    dtype = ir.DataType[kind]
    array = (np.arange(16).reshape(4, 4) / 8).astype(dtype.numpy())
    given = helper.make_tensor_value_info("x", int(dtype), [1, 4])
    made = helper.make_tensor_value_info("y", int(dtype), [1, 4])
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w"], ["y"])], "g", [given], [made])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    source = ir.from_proto(proto)
    tensor = ir.Tensor(array, dtype, name="w")
    value = ir.Value(name="w", shape=tensor.shape, type=ir.TensorType(dtype), const_value=tensor)
    source.graph.register_initializer(value)
    source.graph[0].replace_input_with(1, value)
    x: Array = np.ones((1, 4), ml_dtypes.bfloat16 if kind == "BFLOAT16" else np.float16)
    try:
        whole = Stored.write(source, tmp_path, "cpu").run([{"x": x}])
    except ModelError:
        pytest.skip("ONNX Runtime has no kernel of this type here")
    np.testing.assert_array_equal(Piecewise(source, tmp_path, "cpu").run([{"x": x}]).outputs[0][0], whole.outputs[0][0])


@pytest.mark.usefixtures("small_limits")
def test_values_that_a_branch_captures_are_handed_on(tmp_path: Path) -> None:
    kind = helper.make_tensor_type_proto(1, [2, 4])
    branches = [
        helper.make_graph([node], "branch", [], [helper.make_value_info(node.output[0], kind)])
        for node in (helper.make_node("Mul", ["a", "w2"], ["r"]), helper.make_node("Neg", ["a"], ["s"]))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("MatMul", ["a", "w1"], ["k"]),
        helper.make_node("ReduceMax", ["k"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["go"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["go"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    arrays = {"w1": np.eye(4, dtype=np.float32) * 2, "w2": np.full((4,), 3, np.float32)}
    held = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    given, made = (helper.make_tensor_value_info(name, 1, [2, 4]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [given], [made], held)
    source = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    pieces = Piecewise(source, tmp_path, "cpu")
    np.testing.assert_array_equal(pieces.run([{"x": x}]).outputs[0][0], x * 6)
    assert len(pieces._pieces) > 1


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(
    "text",
    [
        # A sequence is read by two nodes with weights between them.
        """(float[n,4] x) => (float y) <float[4,8] w1, float[4,8] w2, float[8,8] w3, float[8,8] w4> {
            a = MatMul(x, w1) b = MatMul(x, w2) s = SequenceConstruct(a, b) held = Identity(s)
            c = ConcatFromSequence<axis=0>(held) d = MatMul(c, w3) e = MatMul(d, w4)
            one = Constant<value_int=1>() f = SequenceAt(held, one) g = ReduceSum<keepdims=0>(f) y = Mul(e, g) }""",
        # Its kernel asks for the width when it is loaded.
        """(float[n,t,4] x) => (float y) <float[4,8] w1, float[4,8] w2, float[4,8] w3, float[8,4] w4> {
            q = MatMul(x, w1) k = MatMul(x, w2) v = MatMul(x, w3)
            a = Attention<q_num_heads=2, kv_num_heads=2, is_causal=1>(q, k, v) y = MatMul(a, w4) }""",
    ],
)
def test_pieces_of_several_sizes_hand_on_arrays(text: str, tmp_path: Path) -> None:
    proto = model(text, opset=23)
    held, rng = in_memory(proto), np.random.default_rng(0)
    inner = len(proto.graph.input[0].type.tensor_type.shape.dim) - 2
    given = [{"x": rng.standard_normal((n, *[n] * inner, 4), np.float32)} for n in (1, 3)]
    pieces, whole = Piecewise(held, tmp_path, "cpu"), Stored.write(held, tmp_path, "cpu").run(given)
    for row, other in zip(pieces.run(given).outputs, whole.outputs, strict=True):
        np.testing.assert_allclose(row[0], other[0], rtol=1e-5, atol=1e-5)
    assert len(pieces._pieces) > 2


@pytest.mark.usefixtures("small_limits")
def test_outputs_that_no_node_makes_are_words_or_weights(tmp_path: Path) -> None:
    proto = model("(float[n,4] x) => (float y) <float[4,8] w1, float[8,4] w2> { a = MatMul(x, w1) y = MatMul(a, w2) }")
    words = helper.make_tensor("words", onnx.TensorProto.STRING, [2], ["cat", "dog"])
    proto.graph.initializer.append(words)
    proto.graph.output.extend(
        [helper.make_tensor_value_info("words", words.data_type, [2]), helper.make_tensor_value_info("w1", 1, [4, 8])]
    )
    held, given = in_memory(proto), [{"x": np.ones((2, 4), np.float32)}]
    pieces, whole = (
        made.run(given) for made in (Piecewise(held, tmp_path, "cpu"), Stored.write(held, tmp_path, "cpu"))
    )
    for row, other in zip(pieces.outputs[0][1:], whole.outputs[0][1:], strict=True):
        np.testing.assert_array_equal(row, other)


def written(folder: Path) -> Path:
    onnx.save(residual(), folder / "in.onnx", save_as_external_data=True, location="in.bin", size_threshold=1)
    return folder / "in.onnx"


@pytest.mark.usefixtures("small_limits")
def test_a_large_model_is_pruned_and_proved_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stored, "write", None)
    result = prune_file(written(tmp_path), tmp_path / "out.onnx", SETTINGS)
    report = result.report
    assert report.proof is not None
    assert report.proof.passed
    assert report.proof.noticed
    assert not report.proof.not_proved
    assert any("in pieces" in warning or "pieces" in warning for warning in report.warnings)
    assert (tmp_path / "out.onnx.data").exists()
    whole = tmp_path / "whole"
    whole.mkdir()
    monkeypatch.undo()
    prune_file(written(whole), whole / "out.onnx", SETTINGS)
    kept = [files.load_model(folder / "out.onnx").graph.initializers for folder in (tmp_path, whole)]
    assert kept[0].keys() == kept[1].keys()
    for name in kept[0]:
        one, two = (side[name].const_value for side in kept)
        assert one is not None
        assert two is not None
        np.testing.assert_array_equal(one.numpy(), two.numpy())


@pytest.mark.usefixtures("small_limits")
def test_a_wrong_cut_of_a_large_model_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest: Callable[[weights.KeptEntries, Array, int], Array] = weights.KeptEntries.__call__

    def wrong(part: weights.KeptEntries, array: Array, first: int) -> Array:
        return np.roll(honest(part, array, first), 1, axis=-1)  # of each row, where a row is a part

    monkeypatch.setattr(weights.KeptEntries, "__call__", wrong)
    with pytest.raises(ProofFailed):
        prune_file(written(tmp_path), tmp_path / "out.onnx", SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.bin", "in.onnx"]


@pytest.mark.parametrize("kind", [ExternalWeights, Piecewise])
def test_weights_of_control_flow_that_does_not_run_are_no_trouble(
    kind: type[ExternalWeights | Piecewise], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piecewise, "INLINE_BELOW", 1)
    source = in_memory(
        model("""
    (float[n,8] x) => (float[n,8] y) <float[8,8] w, float[8,8] v, float[8,8] u, bool yes = {1}> {
        b = If(yes) <then_branch = t () => (float[n,8] p) { p = MatMul(x, w) },
                     else_branch = e () => (float[n,8] q) { q = MatMul(x, v) }>
        dead = If(yes) <then_branch = f () => (float[n,8] r) { r = MatMul(x, u) },
                        else_branch = g () => (float[n,8] s) { s = Neg(x) }>
        y = Relu(b)
    }""")
    )
    given = {"x": feeds(3)[0]["x"][0]}
    whole = Stored.write(source, tmp_path, "cpu").run([given]).outputs[0]
    # As onnx-ir removes a node, its body still counts as a user of what it reads.
    source.graph.remove(source.graph[1], safe=True)
    made = ExternalWeights(source, tmp_path) if kind is ExternalWeights else Piecewise(source, tmp_path, "cpu")
    np.testing.assert_array_equal(made.open().run([given]).outputs[0][0], whole[0])


def test_a_weight_that_lies_in_columns_is_lent_in_rows(tmp_path: Path) -> None:
    """As a caller's transposed array does; ONNX Runtime refuses what it would have to copy."""
    source = in_memory(model("(float[3,8] x) => (float y) <float[8,64] w> { y = MatMul(x, w) }"))
    held = source.graph.initializers["w"]
    assert held.const_value is not None
    numbers = held.const_value.numpy()
    held.const_value = ir.tensor(np.asfortranarray(numbers), name="w")
    x = np.ones((3, 8), np.float32)
    live = ExternalWeights(source, tmp_path).open()
    np.testing.assert_allclose(live.run([{"x": x}]).outputs[0][0], x @ numbers, rtol=1e-5)
