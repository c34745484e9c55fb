"""Whatever the layer, its two layers give what it gives with the product of the factors as its weight."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import analyse
from compressor.structures.layer.geometry import ThinnedSide
from compressor.structures.layer.judged import Weighting
from compressor.structures.layer.layers import candidate_layers
from compressor.structures.lowrank.factors import factorised, rounded
from compressor.structures.lowrank.split import write_factors
from tests.models import model
from tests.reconstruct.case import noise, outputs
from tests.reconstruct.test_product import CONVOLUTIONS, LEFT, PRODUCTS

DEPTHWISE = ("depthwise", "multiplier")
CASES = {
    **{k: (v, False) for k, v in CONVOLUTIONS.items() if k != "depthwise"},
    **{k: (v, False) for k, v in PRODUCTS.items() if k in ("gemm", "gemm_b", "gemm_ab", "matmul")},
    **{f"left_{k}": (v, True) for k, v in LEFT.items() if k in ("gemm", "gemm_a", "matmul")},
    "bias": (("Conv", "3,4,6,7", "8,4,3,3", "pads=[1,1,1,1]"), False),
    "grouped_wide": (("Conv", "2,8,5,5", "8,4,3,3", "group=2,pads=[1,1,1,1]"), False),
}


def _built(case: tuple[str, str, str, str], *, left: bool, bias: str = "") -> onnx.ModelProto:
    op, x, w, attributes = case
    extra = f"<{attributes}>" if attributes else ""
    more = f", float[{bias}] b" if bias else ""
    operands = ("w, x" if left else "x, w") + (", b" if bias else "")
    return model(f"(float[{x}] x) => (float y) <float[{w}] w{more}> {{ y = {op}{extra}({operands}) }}", checked=False)


def _checked(proto: onnx.ModelProto, side: ThinnedSide, rank: int) -> ir.Model:
    analysis = analyse(ir.from_proto(proto), PruneSettings.parse({"ratio": 0.5}))
    (layer,), refused = candidate_layers(analysis.model, analysis.coupling)
    assert not refused
    matrix = layer.view.matrix
    metrics = [Weighting(np.eye(m.shape[1]), np.eye(m.shape[0])) for m in matrix]
    factors = rounded(factorised(matrix, metrics, layer.geometry.inputs, side, rank), np.dtype(np.float32))
    whole = analysis.model.clone()
    layer.view.layer.weight.write(layer.view.form.weight(factors.product()))
    whole.graph.initializers["w"].const_value = analysis.model.graph.initializers["w"].const_value
    write_factors(layer.view.layer, layer.view.form, factors)
    feeds = {"x": noise(*(int(d) for d in analysis.model.graph.inputs[0].shape.numpy()))}  # type: ignore[union-attr]
    (want,), (got,) = outputs(whole, feeds), outputs(analysis.model, feeds)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
    return analysis.model


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("side", ["outputs", "inputs"])
def test_two_layers_give_what_one_gives(name: str, side: ThinnedSide) -> None:
    case, left = CASES[name]
    if name in DEPTHWISE and side == "inputs":
        pytest.skip("each group has one input channel")
    if case[0] in ("Gemm", "MatMul") and side == "inputs":
        pytest.skip("without taps both sides are one")
    _checked(_built(case, left=left), side, 1)


def test_bias_goes_with_the_last_layer() -> None:
    for side in ("outputs", "inputs"):
        made = _checked(_built(CONVOLUTIONS["pads"], left=False, bias="8"), side, 2)  # type: ignore[arg-type]
        first, last = list(made.graph)
        assert [len(n.inputs) for n in (first, last)] == [2, 3]
        assert last.name == "Conv_0"
        assert last.outputs[0].name == "y"
    case = ("Gemm", "4,5", "6,4", "transA=1,transB=1,alpha=0.5,beta=2.0")
    _checked(_built(case, left=False, bias="6"), "outputs", 2)


REFUSED = {
    "depthwise": (CONVOLUTIONS["depthwise"], "one filter"),
    "einsum": (PRODUCTS["einsum_plain"], "is not taken apart"),
    "many": (PRODUCTS["many"], "no single matrix"),
    "vector": (PRODUCTS["vector"], "no single matrix"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_by_name(name: str) -> None:
    case, reason = REFUSED[name]
    analysis = analyse(ir.from_proto(_built(case, left=False)), PruneSettings.parse({"ratio": 0.5}))
    layers, refused = candidate_layers(analysis.model, analysis.coupling)
    assert not layers
    ((node, text),) = refused.items()
    assert node.endswith("_0")
    assert reason in text


def test_a_shared_weight_is_refused() -> None:
    text = "(float[3,8] x) => (float y) <float[8,8] w> { a = MatMul(x, w)\n b = Relu(a)\n y = MatMul(b, w) }"
    analysis = analyse(ir.from_proto(model(text)), PruneSettings.parse({"ratio": 0.5}))
    layers, refused = candidate_layers(analysis.model, analysis.coupling)
    assert not layers
    assert set(refused.values()) == {"several layers share its weight"}
