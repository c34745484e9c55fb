"""BatchNormalization put in changes nothing; folded away it leaves the original's nodes, names and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from compressor.data import Batch  # noqa: E402 -- after the skip
from compressor.errors import ModelError, UsageError  # noqa: E402
from compressor.train import GraphModule  # noqa: E402
from compressor.train.reparameterize.batchnorm import MARK, ChannelMoments, Insertion, fold_batchnorm, insert  # noqa: E402
from tests.models import in_memory, model, weight  # noqa: E402
from tests.property.graphs import random_inputs, random_model  # noqa: E402
from tests.train.case import in_runtime, in_torch, worst  # noqa: E402

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]

NET = """
    (float[n,3,8,8] x) => (float[n,c,h,w] y)
    <float[8,3,3,3] w1, float[8] b1, float[8,1,3,3] w2, float[8,4,2,2] w3, float[8] b3, float[4,8,1,1] w4> {
        a = Conv<pads=[1,1,1,1]>(x, w1, b1)
        r = Relu(a)
        b = Conv<group=8>(r, w2)
        s = Relu(b)
        c = ConvTranspose<group=2, strides=[2,2]>(s, w3, b3)
        t = Relu(c)
        y = Conv(t, w4)
    }"""


def images(rng: np.random.Generator, batch: int = 4) -> dict[str, Array]:
    return {"x": rng.normal(0.5, 2, size=(batch, 3, 8, 8)).astype(np.float32)}


def run(source: ir.Model, feeds: Feeds) -> list[Array]:
    return in_runtime(ir.to_proto(source), feeds)


def put(source: ir.Model, *feeds: Feeds) -> Insertion:
    return insert(source, [Batch(dict(f)) for f in feeds], "cpu")


def disturb(source: ir.Model, rng: np.random.Generator) -> None:
    """Other numbers in every BatchNormalization that was put in."""
    for node in source.graph:
        if MARK in node.metadata_props:
            for value, shift in zip(node.inputs[1:], (0.0, -0.1, -0.1, 0.0), strict=True):
                assert value is not None
                old = np.asarray(weight(source, str(value.name)), np.float32)
                new = old * rng.uniform(0.6, 1.5, old.shape) + shift * rng.random(old.shape)
                value.const_value = ir.tensor(new.astype(np.float32), name=value.name)


def same_graph(ours: ir.Model, original: ir.Model) -> set[str]:
    """Nodes, values and initializers of the original; returns the names of initializers that are new."""
    new = set(ours.graph.initializers) - set(original.graph.initializers)
    for name in original.graph.initializers:
        assert weight(ours, name).shape == weight(original, name).shape
        assert weight(ours, name).dtype == weight(original, name).dtype
    for a, b in zip(ours.graph, original.graph, strict=True):
        assert (a.op_type, a.name, dict(a.attributes).keys()) == (b.op_type, b.name, dict(b.attributes).keys())
        assert names(a.outputs) == names(b.outputs)
        read = dict(enumerate(names(b.inputs)))
        assert all(name in new or name == read.get(k) for k, name in enumerate(names(a.inputs)))
    assert names(ours.graph.outputs) == names(original.graph.outputs)
    return new


def names(values: Iterable[ir.Value | None]) -> list[str | None]:
    return [v.name if v is not None else None for v in values]


def test_convolutions_of_every_kind(rng: np.random.Generator) -> None:
    source, feeds = in_memory(model(NET)), images(rng)
    found = put(source, images(rng), images(rng, 2))
    assert found.nodes == ("Conv_0", "Conv_2", "ConvTranspose_4", "Conv_6")
    assert not found.skipped
    assert sum(n.op_type == "BatchNormalization" for n in found.model.graph) == 4
    onnx.checker.check_model(ir.to_proto(found.model), full_check=True)
    assert worst(run(found.model, feeds), run(source, feeds)) < 1e-5
    back = fold_batchnorm(found.model)
    assert same_graph(back, source) == {"w2.bias", "w4.bias"}
    assert worst(run(back, feeds), run(source, feeds)) < 1e-6
    disturb(found.model, rng)
    expected = run(found.model, feeds)
    assert worst(expected, run(source, feeds)) > 0.01
    assert worst(run(fold_batchnorm(found.model), feeds), expected) < 1e-6


def test_the_calibration_batch_gives_the_same_in_training(rng: np.random.Generator) -> None:
    """The statistics are those of what the layer writes without the bias, as training will see it."""
    source, feeds = in_memory(model(NET)), images(rng)
    module = GraphModule(put(source, feeds).model, train_bn=True)
    x = torch.from_numpy(feeds["x"])
    expected = module.eval()(x)
    torch.testing.assert_close(module.train()(x), expected, rtol=1e-4, atol=1e-4)


def test_statistics_are_those_of_all_batches(rng: np.random.Generator) -> None:
    parts = [rng.normal(100, 3, size=(n, 5, 7)).astype(np.float32) for n in (1, 4, 2)]
    moments = ChannelMoments()
    for part in parts:
        moments.add(part)
    moments.add(np.zeros((0, 5, 7), np.float32))
    whole = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(moments.mean, whole.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, whole.var((0, 2)), rtol=1e-9)


def leading(source: ir.Model) -> list[object]:
    shapes = [v.shape for v in source.graph.inputs if not v.is_initializer()]
    return [shape[0] for shape in shapes if shape is not None and len(shape) > 1] or [None]


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    proto = random_model(rng)
    source = in_memory(proto)
    feeds = random_inputs(proto, rng)
    if all(dim == 1 for dim in leading(source)):
        with pytest.raises(ModelError, match="one sample at a time"):
            put(source, feeds)
        return
    found = put(source, feeds)
    before = run(source, feeds)
    assert worst(run(found.model, feeds), before) < 1e-5
    back = fold_batchnorm(found.model)
    assert worst(run(back, feeds), before) < 1e-5
    assert not any(MARK in n.metadata_props for n in back.graph)
    same_graph(back, source)
    disturb(found.model, rng)
    assert worst(run(fold_batchnorm(found.model), feeds), run(found.model, feeds)) < 1e-5


def layers(text: str, **options: object) -> ir.Model:
    return in_memory(model(text, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        "(float[n,3,9] x) => (float[n,c,l] y) <float[4,3,3] w, float[4] b> { y = Conv(x, w, b) }",
        "(float[n,2,4,4,4] x) => (float[n,c,d,h,k] y) <float[4,1,3,3,3] w> { y = Conv<group=2>(x, w) }",
        "(float[n,4,5] x) => (float[n,c,l] y) <float[4,3,2] w, float[6] b> { y = ConvTranspose<group=2>(x, w, b) }",
    ],
)
def test_ranks_and_groups(body: str, rng: np.random.Generator) -> None:
    source = layers(body)
    value = source.graph.inputs[0]
    assert value.shape is not None
    feeds = {"x": rng.normal(size=(3, *(int(str(n)) for n in list(value.shape)[1:]))).astype(np.float32)}
    found = put(source, feeds)
    assert len(found.nodes) == 1
    assert worst(run(found.model, feeds), run(source, feeds)) < 1e-5
    disturb(found.model, rng)
    back = fold_batchnorm(found.model)
    same_graph(back, source)
    assert worst(run(back, feeds), run(found.model, feeds)) < 1e-6


PERCEPTRON = """
    (float[n,6] x) => (float[n,c] y)
    <float[8,6] w1, float[8] b1, float[8,5] w2, float[5] b2, float[5,7] w3, float[7] b3, float[7,2] w4> {
        a = Gemm<transB=1, alpha=0.5>(x, w1, b1)  r = Relu(a)
        b = MatMul(r, w2)  c = Add(b2, b)  s = Tanh(c)
        d = Gemm(s, w3, b3)  t = Sigmoid(d)
        y = Gemm(t, w4, bias)
    }"""


@pytest.mark.parametrize("opset", [9, 18])
def test_matrices_in_front_of_an_activation(opset: int, rng: np.random.Generator) -> None:
    source = layers(PERCEPTRON.replace("w4>", "w4, float[2] bias>"), opset=opset)
    feeds = {"x": rng.normal(size=(5, 6)).astype(np.float32)}
    found = put(source, feeds)
    assert found.nodes == ("Gemm_0", "MatMul_2", "Gemm_5")
    assert "activation" in found.skipped["Gemm_7"]
    assert worst(run(found.model, feeds), run(source, feeds)) < 1e-5
    disturb(found.model, rng)
    back = fold_batchnorm(found.model)
    assert same_graph(back, source) == set()
    assert worst(run(back, feeds), run(found.model, feeds)) < 1e-6


def test_channels_on_the_last_of_three_axes_are_left_alone(rng: np.random.Generator) -> None:
    source = layers(
        """(float[n,4,6] x) => (float[n,t,c] y) <float[6,8] w, float[8] b, float[8,2] v> {
            a = MatMul(x, w)  b1 = Add(a, b)  r = Relu(b1)  y = MatMul(r, v)
        }"""
    )
    found = put(source, {"x": rng.normal(size=(2, 4, 6)).astype(np.float32)})
    assert not found.nodes
    assert "axis 1" in found.skipped["MatMul_0"]


def test_half_precision(rng: np.random.Generator) -> None:
    source = layers(
        """(float16[n,3,8,8] x) => (float16[n,c,h,w] y) <float16[8,3,3,3] w1, float16[8] b1, float16[4,8,1,1] w2> {
            a = Conv(x, w1, b1)  r = Relu(a)  y = Conv(r, w2)
        }"""
    )
    feeds = {"x": rng.normal(size=(4, 3, 8, 8)).astype(np.float16)}
    found = put(source, feeds)
    assert {v.const_value.dtype for v in found.model.graph.initializers.values()} == {ir.DataType.FLOAT16}  # type: ignore[union-attr]
    assert worst(run(found.model, feeds), run(source, feeds)) < 4e-3
    assert worst(run(fold_batchnorm(found.model), feeds), run(source, feeds)) < 4e-3
    loud = put(source, {"x": 500 * feeds["x"]})
    assert "beyond the range" in loud.skipped["Conv_0"]


def test_a_dead_channel_stays_dead(rng: np.random.Generator) -> None:
    source = layers(NET)
    for name in ("w1", "b1"):
        array = np.array(weight(source, name))
        array[2] = 0 if name == "w1" else -3
        source.graph.initializers[name].const_value = ir.tensor(array, name=name)
    feeds = images(rng)
    found = put(source, feeds)
    assert weight(found.model, "a.bn.var")[2] < 1e-9
    assert worst(run(found.model, feeds), run(source, feeds)) < 1e-5
    back = fold_batchnorm(found.model)
    assert not weight(back, "w1")[2].any()
    np.testing.assert_allclose(weight(back, "b1")[2], -3, rtol=1e-6)


def test_shared_constants(rng: np.random.Generator) -> None:
    """A shared bias is split up; a weight that two layers read cannot take two scales."""
    source = layers(
        """(float[n,3,5,5] x) => (float[n,c,h,w] y)
        <float[3,3,1,1] w, float[3,3,1,1] v, float[3,3,3,3] u, float[3] b> {
            a = Conv(x, w, b)  p = Relu(a)  c = Conv(p, v, b)  q = Relu(c)  d = Conv(q, u, b)
            r = Conv<pads=[1,1,1,1]>(d, u, b)  y = Relu(r)
        }"""
    )
    feeds = {"x": rng.normal(size=(3, 3, 5, 5)).astype(np.float32)}
    found = put(source, feeds)
    assert found.nodes == ("Conv_0", "Conv_2")
    assert {k for k, v in found.skipped.items() if "elsewhere" in v} == {"Conv_4", "Conv_5"}
    disturb(found.model, rng)
    back = fold_batchnorm(found.model)
    assert same_graph(back, source) == {"w.bias", "v.bias"}
    np.testing.assert_array_equal(weight(back, "b"), weight(source, "b"))
    assert worst(run(back, feeds), run(found.model, feeds)) < 1e-6


def test_constants_of_nodes(rng: np.random.Generator) -> None:
    source = layers(
        """(float[n,2,4] x) => (float[n,c,l] y) {
            w = Constant<value = float[3,2,1] {1,-2,3,-4,5,-6}>()  b = Constant<value = float[3] {1,2,3}>()
            i = Identity(w)  y = Conv(x, i, b)
        }"""
    )
    feeds = {"x": rng.normal(size=(3, 2, 4)).astype(np.float32)}
    found = put(source, feeds)
    assert len(found.nodes) == 1
    disturb(found.model, rng)
    back = fold_batchnorm(found.model)
    assert same_graph(back, source) == set()
    assert worst(run(back, feeds), run(found.model, feeds)) < 1e-6


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Conv(x, w)  y = BatchNormalization(a, s, s, s, s)", "normalised already"),
        ("a = Conv(x, w)  y = InstanceNormalization(a, s, s)", "normalised already"),
        ("k = Exp(w)  y = Conv(x, k)", "computed"),
        ("k = Abs(s)  y = Conv(x, w, k)", "bias is computed"),
        ("t = ReduceMax<keepdims=0>(x)  q = Less(t, t)  y = If(q) <then_branch = yes() => (float[n,c,h,k] m) "
         "{ m = Conv(x, w) }, else_branch = no() => (float[n,c,h,k] l) { l = Conv(x, v) }>", "inside another node"),
    ],
)  # fmt: skip
def test_what_is_left_alone(body: str, reason: str, rng: np.random.Generator) -> None:
    source = layers(
        f"(float[n,3,5,5] x) => (float[n,c,h,k] y) <float[4,3,3,3] w, float[4,3,3,3] v, float[4] s> {{ {body} }}",
        checked="If" not in body,
    )
    found = put(source, {"x": rng.normal(size=(2, 3, 5, 5)).astype(np.float32)})
    assert not found.nodes
    assert found.skipped
    assert all(reason in text for text in found.skipped.values())


def test_one_sample_at_a_time_is_refused() -> None:
    source = layers(NET.replace("float[n,3,8,8]", "float[1,3,8,8]"))
    with pytest.raises(ModelError, match=r"'x' takes one sample at a time.*dynamic batch"):
        insert(source, [], "cpu")


def test_no_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="no samples"):
        insert(layers(NET), [], "cpu")


def test_a_lost_layer_is_named(rng: np.random.Generator) -> None:
    found = put(layers(NET), images(rng)).model
    node = next(n for n in found.graph if n.op_type == "BatchNormalization")
    node.replace_input_with(0, found.graph.inputs[0])
    with pytest.raises(ModelError, match=r"'a.bn' cannot be folded: no layer"):
        fold_batchnorm(found)


def test_trained_in_torch_and_folded(rng: np.random.Generator) -> None:
    """The statistics of batches are followed, and what is written and folded computes what was trained."""
    source, feeds = layers(NET), images(rng, 8)
    found = put(source, feeds).model
    module = GraphModule(found, train_bn=True).train()
    assert "b1" not in module.state_dict(), "the bias has moved into the normalisation"
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(4):
        optimiser.zero_grad()
        module(torch.from_numpy(3 + images(rng, 8)["x"])).square().mean().backward()
        optimiser.step()
    tuned = module.write_back(found)
    assert not np.array_equal(weight(tuned, "a.bn.mean"), weight(found, "a.bn.mean"))
    back = fold_batchnorm(tuned)
    same_graph(back, source)
    assert worst(run(back, feeds), run(source, feeds)) > 0.01
    assert worst(run(back, feeds), in_torch(tuned, feeds)) < 1e-5


def test_filters_get_the_norm_of_he_initialisation_and_lose_it_again() -> None:
    rng = np.random.default_rng(3)
    source = in_memory(model(NET))
    put_in = put(source, images(rng, 16)).model
    w1, w3 = (np.asarray(weight(put_in, name), np.float64) for name in ("w1", "w3"))
    assert np.allclose(np.linalg.norm(w1.reshape(8, -1), axis=1), 2**0.5, atol=1e-5)
    # ConvTranspose in two groups: [inputs, outputs of a group, taps], each group of four inputs with four outputs
    blocks = w3.reshape(2, 4, *w3.shape[1:])
    assert np.allclose(np.sqrt((blocks**2).sum((1, 3, 4))), 2**0.5, atol=1e-5)
    folded = fold_batchnorm(put_in)
    for name in ("w1", "w2", "w3"):
        assert np.allclose(weight(folded, name), weight(source, name), atol=1e-6)
