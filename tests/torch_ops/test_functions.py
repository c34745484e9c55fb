"""Operators that the standard's own tests leave out, against ONNX Runtime or by what random numbers must look like."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from compressor.errors import UnsupportedOperator  # noqa: E402
from compressor.train import GraphModule  # noqa: E402 -- after the skip
from tests.models import in_memory, model  # noqa: E402
from tests.train.case import in_runtime, in_torch, node_model, parity, run_module  # noqa: E402


def test_global_lp_pool(rng: np.random.Generator) -> None:
    feeds = {"x": rng.normal(size=(2, 3, 4, 5)).astype(np.float32)}
    assert parity(node_model("GlobalLpPool", feeds, p=3), feeds) < 1e-6


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_max_roi_pool(scale: float, rng: np.random.Generator) -> None:
    boxes = np.array([[0, 0, 0, 5, 5], [1, 2, 3, 9, 7], [0, 7, 7, 7, 7]], np.float32)
    feeds = {"x": rng.normal(size=(2, 3, 8, 10)).astype(np.float32), "boxes": boxes}
    model = node_model("MaxRoiPool", feeds, pooled_shape=[2, 3], spatial_scale=scale)
    assert parity(model, feeds) < 1e-6


@pytest.mark.parametrize("new_axis", [0, 1])
def test_sequences(new_axis: int, rng: np.random.Generator) -> None:
    proto = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 18]>
        g (float[2,3] a, float[2,3] b, float[2,3] c) => (float[n,m] y, float[2,3] z, int64 k) {{
            s = SequenceConstruct(a, b, c)
            one = Constant<value = int64 {{1}}>()
            t = SequenceErase(s, one)
            u = SequenceInsert(t, b)
            z = SequenceAt(u, one)
            k = SequenceLength(u)
            y = ConcatFromSequence<axis=-1, new_axis={new_axis}>(u)
        }}"""
    )
    feeds = {name: rng.normal(size=(2, 3)).astype(np.float32) for name in "abc"}
    for ours, theirs in zip(in_torch(proto, feeds), in_runtime(proto, feeds), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("op", "attributes", "mean", "deviation"),
    [
        ("RandomNormal", {"mean": 2.0, "scale": 3.0, "shape": [200, 200]}, 2.0, 3.0),
        ("RandomNormalLike", {"mean": -1.0, "scale": 0.5}, -1.0, 0.5),
        ("RandomUniform", {"low": 1.0, "high": 3.0, "shape": [200, 200]}, 2.0, 1 / 3**0.5),
        ("RandomUniformLike", {}, 0.5, 0.5 / 3**0.5),
        ("Bernoulli", {}, 0.25, 0.1875**0.5),
    ],
)
def test_random_numbers(op: str, attributes: dict[str, object], mean: float, deviation: float) -> None:
    inputs = {} if "shape" in attributes else {"x": np.full((200, 200), 0.25, np.float32)}
    (found,) = in_torch(node_model(op, inputs, **attributes), inputs)
    assert found.shape == (200, 200)
    assert found.dtype == np.float32
    assert abs(found.mean() - mean) < 0.05
    assert abs(found.std() - deviation) < 0.05


def test_multinomial() -> None:
    feeds = {"x": np.log(np.array([[0.1, 0.2, 0.7]], np.float32))}
    (found,) = in_torch(node_model("Multinomial", feeds, sample_size=20000), feeds)
    assert found.dtype == np.int32
    np.testing.assert_allclose(np.bincount(found[0]) / 20000, [0.1, 0.2, 0.7], atol=0.02)


@pytest.mark.parametrize("lengths", [None, [3, 1]])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU-late", "RNN", "RNN-relu", "LSTM-clip", "LSTM-peepholes"])
def test_recurrent(kind: str, direction: str, lengths: list[int] | None, rng: np.random.Generator) -> None:
    op, _, variant = kind.partition("-")
    ways, gates = 2 if direction == "bidirectional" else 1, {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    attributes: dict[str, object] = {"hidden_size": 3, "direction": direction}
    attributes |= {"late": {"linear_before_reset": 1}, "clip": {"clip": 0.5}}.get(variant, {})
    if variant == "relu":
        attributes["activations"] = ["Relu"] * ways
    shapes: dict[str, tuple[int, ...] | None] = {
        "x": (3, 2, 4), "w": (ways, gates * 3, 4), "r": (ways, gates * 3, 3), "b": (ways, gates * 6), "n": None,
        "h": (ways, 2, 3),
    }  # fmt: skip
    if op == "LSTM":
        shapes |= {"c": (ways, 2, 3)} | ({"p": (ways, 9)} if variant == "peepholes" else {})
    inputs = {k: None if s is None else rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    if lengths is not None:
        inputs["n"] = np.array(lengths, np.int32)
    model = node_model(op, inputs, outputs=3 if op == "LSTM" else 2, **attributes)
    assert parity(model, {k: v for k, v in inputs.items() if v is not None}) < 1e-5


def test_text_is_refused() -> None:
    model = node_model("Cast", {"x": np.zeros(2, np.float32)}, to=onnx.TensorProto.STRING)
    with pytest.raises(UnsupportedOperator, match="Cast node 'Cast' converts text"):
        GraphModule(in_memory(model))


@pytest.mark.parametrize("bound", [np.zeros(0, np.float32), np.ones(2, np.float32)])
def test_a_bound_that_is_no_number_is_refused(bound: np.ndarray) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Clip(x, low) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(bound, "low"))
    with pytest.raises(UnsupportedOperator, match="has a bound of none or several numbers"):
        GraphModule(in_memory(model))


@pytest.mark.parametrize("follows", [False, True])
def test_a_single_value_of_a_channel_has_no_statistics(*, follows: bool, rng: np.random.Generator) -> None:
    text = """(float[n,4] x) => (float[n,4] y) <float[4] s, float[4] b, float[4] m, float[4] s2> {
        y = BatchNormalization(x, s, b, m, s2) }"""
    module = GraphModule(in_memory(model(text)), train_bn=follows)
    feeds = {"x": rng.normal(size=(1, 4)).astype(np.float32)}
    np.testing.assert_allclose(run_module(module.train(), feeds), run_module(module.eval(), feeds))
    # Two values have.
    two = {"x": rng.normal(size=(2, 4)).astype(np.float32)}
    assert np.allclose(run_module(module.train(), two), run_module(module.eval(), two)) != follows
