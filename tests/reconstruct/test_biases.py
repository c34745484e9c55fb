"""A bias that is written is what the outputs gain, wherever the node holds it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.reconstruct.biases import _following, read_bias, write_bias
from compressor.reconstruct.layers import LayerPair, repairable_layers
from tests.models import in_memory, model
from tests.reconstruct.case import noise, outputs

BATCH = "(float[3,4] x) => (float y) "
IMAGE = "(float[2,4,5,5] x) => (float y) "
CASES = {
    "a vector": IMAGE + "<float[6,4,3,3] w, float[6] b> { y = Conv(x, w, b) }",
    "none yet": IMAGE + "<float[6,4,3,3] w> { y = Conv(x, w) }",
    "groups": IMAGE + "<float[6,2,3,3] w, float[6] b> { y = Conv<group=2>(x, w, b) }",
    "a factor": BATCH + "<float[4,6] w, float[6] b> { y = Gemm<beta=0.5>(x, w, b) }",
    "a number for all": BATCH + "<float[4,6] w, float[1] b> { y = Gemm(x, w, b) }",
    "an Add behind": BATCH + "<float[4,6] w, float[6] b> { a = MatMul(x, w) y = Add(b, a) }",
    "a new Add": BATCH + "<float[4,6] w> { y = MatMul(x, w) }",
    "an Add that would grow": BATCH + "<float[4,6] w, float[1] b> { a = MatMul(x, w) y = Add(a, b) }",
    "two readers": BATCH + "<float[4,6] w, float[6] b> { a = MatMul(x, w) c = Add(a, b) y = Add(c, a) }",
    "a shared constant": BATCH + "<float[4,6] w, float[6] b> { a = Gemm(x, w, b) y = Add(a, b) }",
}


def layer_of(held: ir.Model) -> LayerPair:
    [layer], skipped = repairable_layers(held, held.clone(), {"x"})
    assert not skipped
    return layer


@pytest.mark.parametrize("name", CASES)
def test_outputs_gain_what_is_written(name: str, rng: np.random.Generator) -> None:
    proto = model(CASES[name])
    held = in_memory(proto)
    layer = layer_of(held)
    x = noise(*(d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim))
    [before] = outputs(proto, {"x": x})
    weight = layer.weight.read()
    form = layer.form((x.shape, weight.shape, before.shape))
    matrix = form.matrix(weight)
    old = read_bias(layer, form, matrix, before.ndim)
    change = rng.normal(0, 1, matrix.shape[:2])
    write_bias(layer, form, change, before.ndim)
    [after] = outputs(held, {"x": x})
    gain = form.spread(change, before.ndim) * (2 if name == "two readers" else 1)
    np.testing.assert_allclose(after - before, np.broadcast_to(gain, before.shape), atol=1e-5)
    if layer.kind.bias is not None:
        np.testing.assert_allclose(read_bias(layer, form, matrix, before.ndim), old + change, atol=1e-6)


def test_no_change_adds_no_node() -> None:
    held = in_memory(model(CASES["a new Add"]))
    layer = layer_of(held)
    form = layer.form(((3, 4), (4, 6), (3, 6)))
    write_bias(layer, form, np.zeros((1, 6)), 2)
    assert len(held.graph) == 1


def test_a_sum_of_another_width_holds_no_bias() -> None:
    """Where the width of a layer is not known, that of its weight is taken, which may be larger than the sum."""
    held = in_memory(model(BATCH + "<float[4,6] w, float[6] b> { a = MatMul(x, w)  y = Add(a, b) }"))
    assert _following(layer_of(held), np.zeros(6)) is not None
    assert _following(layer_of(held), np.zeros(8)) is None


@pytest.mark.parametrize("name", ["a vector", "a factor", "an Add behind"])
def test_what_holds_infinities_is_left_alone(name: str) -> None:
    """It takes something out, such as a class that shall never be chosen."""
    held = in_memory(model(CASES[name]))
    mask = np.asarray([0, 0, -np.inf, 0, 0, 0], np.float32)
    held.graph.initializers["b"].const_value = ir.tensor(mask, name="b")
    found, skipped = repairable_layers(held, held.clone(), {"x"})
    assert list(skipped.values()) == ([] if found else ["its bias is not finite"])
    if found:
        form = found[0].form(((3, 4), (4, 6), (3, 6)))
        write_bias(found[0], form, np.ones((1, 6)), 2)
    value = held.graph.initializers["b"].const_value
    assert value is not None
    np.testing.assert_array_equal(value.numpy(), mask)


def test_a_default_that_callers_may_replace_is_read_and_not_written() -> None:
    """A cut makes a constant of it, which recovery then may write."""
    held = in_memory(model(CASES["a vector"]))
    given = held.clone()
    given.graph.inputs.extend(given.graph.initializers[name] for name in ("w", "b"))
    assert len(repairable_layers(held, given, {"x"})[0]) == 1
    assert len(repairable_layers(given, given, {"x"}, written=False)[0]) == 1
    found, skipped = repairable_layers(given, given, {"x"})
    assert not found
    assert list(skipped.values()) == ["its weight is an input that the caller may replace"]
