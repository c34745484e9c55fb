"""Weights that are integers on a grid are rebuilt there: rounded before they are judged, with their bias."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.errors import ProofFailed
from compressor.operators import quantization_grid
from compressor.reconstruct import weights
from compressor.reconstruct.layers import repairable_layers
from compressor.reconstruct.task import by_weight
from tests.models import in_memory, model, weight
from tests.reconstruct.case import Arrays, noise, pruned

IMAGE = "(float[N,4,6,6] x) => (float y) <float[12,4,3,3] w, float[12] b, "
TOKENS = "(float[N,4] x) => (float y) <float[4,12] w, "
FIRST, PRODUCT = "{ a = Conv(x, w, b)  r = Relu(a)  ", "{ a = MatMul(x, w)  r = Relu(a)  "
BY_FILTER = (
    IMAGE
    + "int8[8,12,3,3] k, float[8] s, int32[8] d, float[8] sd>"
    + FIRST
    + "q = DequantizeLinear<axis=0>(k, s)  e = DequantizeLinear<axis=0>(d, sd)  y = Conv(r, q, e) }"
)
ALSO = "z = Conv(r, q, e)  g = GlobalAveragePool(z)  f = Flatten(g)  y = Mul(f, {read})"
NETS = {
    "by filter, with a bias": BY_FILTER,
    "one step for all": IMAGE
    + "uint8[8,12,3,3] k, float s, uint8 zero = {130}>"
    + FIRST
    + "q = DequantizeLinear(k, s, zero)  y = Conv(r, q) }",
    "by column": TOKENS
    + "int8[12,6] k, float[6] s>"
    + PRODUCT
    + "q = DequantizeLinear<axis=1>(k, s)  y = MatMul(r, q) }",
    "transposed": TOKENS
    + "int8[6,12] k, float[6] s>"
    + PRODUCT
    + "q = DequantizeLinear<axis=0>(k, s)  t = Transpose(q)  y = MatMul(r, t) }",
    "in blocks": TOKENS
    + "int8[12,6] k, float[6,6] s>"
    + PRODUCT
    + "q = DequantizeLinear<axis=0,block_size=2>(k, s)  y = MatMul(r, q) }",
}
"""A layer that loses inputs, whose weight ``k`` is on a grid of steps ``s``."""


def samples(text: str) -> Arrays:
    return Arrays(x=noise(400, 4, 6, 6) if text.startswith(IMAGE) else noise(2000, 4))


@pytest.mark.parametrize("name", NETS)
def test_least_squares_rebuilds_integers(name: str) -> None:
    case = pruned(model(NETS[name], opset=21), **({"round_to": 2} if name == "in blocks" else {}))
    before = weight(case.model, "k").copy()
    found = case.recover("lstsq", samples(NETS[name]))
    [layer] = found.layers
    assert not found.skipped
    assert layer.changed
    assert layer.after < 0.9 * layer.before
    after = weight(case.model, "k")
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    assert (after != before).any()


def test_what_is_judged_is_what_is_written() -> None:
    """The error that the report tells is that of the rounded weight, as is that of a second look at it."""
    case = pruned(model(BY_FILTER))
    [told] = case.recover("lstsq", samples(BY_FILTER)).layers
    [again] = case.recover("lstsq", samples(BY_FILTER)).layers
    assert again.before == pytest.approx(told.after, rel=1e-3)


@pytest.mark.parametrize("forgotten", ["codes", "step"])
def test_what_is_written_otherwise_than_it_was_judged_is_a_fault(
    forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = weights._replace

    def replace(value: ir.Value, array: np.ndarray) -> None:
        if (array.dtype.kind == "f") != (forgotten == "step"):
            honest(value, array)

    monkeypatch.setattr(weights, "_replace", replace)
    with pytest.raises(ProofFailed, match="not written as it was judged"):
        pruned(model(BY_FILTER)).recover("lstsq", samples(BY_FILTER))


def test_steps_grow_with_the_weight_and_those_of_the_bias_with_them() -> None:
    """Runtimes take the step of a bias for the product of those of weight and input."""
    case = pruned(model(BY_FILTER))
    step, of_bias = weight(case.model, "s").copy(), weight(case.model, "sd").copy()
    case.recover("lstsq", samples(BY_FILTER))
    grown = weight(case.model, "s") / step
    assert (grown >= 1).all()
    assert (grown > 1.01).any()
    np.testing.assert_allclose(weight(case.model, "sd") / of_bias, grown, rtol=1e-5)


@pytest.mark.parametrize("read", ["s", "sd"])
def test_steps_that_something_else_reads_stay(read: str) -> None:
    also = ALSO.format(read=read)
    for text, follows in ((BY_FILTER, True), (BY_FILTER.replace("y = Conv(r, q, e)", also), False)):
        net = in_memory(model(text))
        [layer] = repairable_layers(net, net.clone(), {"r"})[0]
        assert (layer.weight.follows is not None) is follows
        step, old = weight(net, "s").copy(), layer.weight.read()
        layer.weight.write(3 * old)
        assert (weight(net, "s") > step).any() == follows
        np.testing.assert_allclose(layer.weight.read(), layer.weight.stored(3 * old), rtol=1e-6)


def test_a_bit_that_the_quantiser_spared_stays_spare() -> None:
    net = model(BY_FILTER)
    [held] = [t for t in net.graph.initializer if t.name == "k"]
    numbers = (np.frombuffer(held.raw_data, np.int8).astype(np.int64) // 2).astype(np.int8)
    held.raw_data = numbers.tobytes()
    case = pruned(net)
    case.recover("lstsq", samples(BY_FILTER))
    assert np.abs(weight(case.model, "k").astype(int)).max() <= 64


def test_a_bias_that_others_read_is_left_alone() -> None:
    shared = BY_FILTER.replace(
        "y = Conv(r, q, e)", "z = Conv(r, q, e)  g = GlobalAveragePool(z)  f = Flatten(g)  y = Mul(f, e)"
    )
    assert "another node reads it too" in str(pruned(model(shared)).recover("lstsq", samples(shared)).skipped)


def test_a_grid_that_is_computed_is_none() -> None:
    net = in_memory(model(BY_FILTER.replace("q = Dequ", "c = Abs(s)  q = Dequ").replace("(k, s)", "(k, c)")))
    assert not repairable_layers(net, net.clone(), {"r"})[0]


def test_coarser_steps_reach_as_far_as_needed_and_no_farther() -> None:
    net = in_memory(model(NETS["in blocks"], opset=21))
    value = net.graph.initializers["k"]
    value.const_value = ir.tensor(np.clip(weight(net, "k"), -100, 100).astype(np.int8), name="k")
    numbers = quantization_grid.real(value, weight(net, "k"))
    assert (quantization_grid.coarser_for(value, numbers) == 1).all()
    far = np.zeros_like(numbers)
    far[4, 1] = 300 * weight(net, "s")[2, 1]
    coarser = quantization_grid.coarser_for(value, far)
    limit = float(weight(net, "k").max())
    assert coarser[2, 1] == pytest.approx(300 / limit)
    assert (np.delete(coarser.ravel(), 13) == 1).all()
    assert quantization_grid.codes_for(value, far, coarser)[4, 1] == limit


def test_one_weight_is_one_task() -> None:
    net = in_memory(model(BY_FILTER))
    layers = repairable_layers(net, net.clone(), {"r"})[0]
    assert [len(users) for users in by_weight(layers)] == [1]
