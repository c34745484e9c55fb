"""Every form of a linear operator is the matrix that ONNX Runtime multiplies by."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.reconstruct.form import OperandForm, Unrepairable
from compressor.reconstruct.layers import layer_kind
from tests.models import model, weight
from tests.reconstruct.case import noise, outputs

CONVOLUTIONS = {
    "plain": ("Conv", "3,4,6,7", "8,4,3,3", ""),
    "pads": ("Conv", "3,4,6,7", "8,4,3,2", "pads=[1,0,2,1]"),
    "strides": ("Conv", "3,4,9,8", "8,4,3,3", "strides=[2,3],pads=[1,1,1,1]"),
    "dilations": ("Conv", "2,4,9,8", "8,4,3,3", "dilations=[2,1]"),
    "grouped": ("Conv", "2,6,5,5", "4,3,3,3", "group=2"),
    "depthwise": ("Conv", "2,6,5,5", "6,1,3,3", "group=6,pads=[1,1,1,1]"),
    "multiplier": ("Conv", "2,3,5,5", "6,1,3,3", "group=3"),
    "upper": ("Conv", "2,4,7,6", "8,4,2,3", 'auto_pad="SAME_UPPER",strides=[2,2]'),
    "lower": ("Conv", "2,4,7,6", "8,4,2,3", 'auto_pad="SAME_LOWER",strides=[2,2]'),
    "valid": ("Conv", "2,4,7,6", "8,4,2,3", 'auto_pad="VALID"'),
    "line": ("Conv", "2,4,9", "8,4,3", "pads=[1,1]"),
    "volume": ("Conv", "2,2,4,5,4", "3,2,3,1,2", "strides=[1,2,1]"),
    "t": ("ConvTranspose", "2,4,5,6", "4,3,3,3", ""),
    "t_strides": ("ConvTranspose", "2,4,5,6", "4,3,3,2", "strides=[2,3],pads=[1,0,1,1]"),
    "t_output_padding": ("ConvTranspose", "2,4,5,6", "4,3,3,3", "strides=[2,2],pads=[1,1,1,1],output_padding=[1,1]"),
    "t_dilations": ("ConvTranspose", "2,4,5,6", "4,3,3,3", "dilations=[2,1],pads=[1,2,0,1]"),
    "t_grouped": ("ConvTranspose", "2,6,4,4", "6,2,3,3", "group=3,strides=[2,2]"),
    "t_upper": ("ConvTranspose", "2,4,5,6", "4,3,3,3", 'auto_pad="SAME_UPPER",strides=[2,2]'),
    "t_shape": ("ConvTranspose", "2,4,5,6", "4,3,3,3", "strides=[2,2],output_shape=[10,12]"),
    "t_line": ("ConvTranspose", "2,4,5", "4,3,4", "strides=[2],pads=[1,1]"),
}
PRODUCTS = {
    "gemm": ("Gemm", "5,4", "4,6", ""),
    "gemm_b": ("Gemm", "5,4", "6,4", "transB=1"),
    "gemm_ab": ("Gemm", "4,5", "6,4", "transA=1,transB=1,alpha=0.5"),
    "matmul": ("MatMul", "3,5,4", "4,6", ""),
    "vector": ("MatMul", "3,5,4", "4", ""),
    "many": ("MatMul", "2,3,5,4", "3,4,6", ""),
    "each": ("MatMul", "2,3,5,4", "2,1,4,6", ""),
    "wider": ("MatMul", "1,5,4", "3,4,6", ""),
    "einsum": ("Einsum", "2,5,3,4", "3,6,4", 'equation="bthd,hed->bteh"'),
    "einsum_plain": ("Einsum", "2,5,4", "4,6", 'equation="abc,cd->abd"'),
}
LEFT = {
    "gemm": ("Gemm", "4,5", "6,4", ""),
    "gemm_a": ("Gemm", "5,4", "4,6", "transA=1,transB=1"),
    "matmul": ("MatMul", "3,4,5", "6,4", ""),
    "vector": ("MatMul", "3,4,5", "4", ""),
    "many": ("MatMul", "2,3,4,5", "3,6,4", ""),
    "einsum": ("Einsum", "2,4,5", "6,4", 'equation="oc,ncp->nop"'),
}


def linear(
    case: tuple[str, str, str, str], *, left: bool = False
) -> tuple[OperandForm, np.ndarray, np.ndarray, np.ndarray]:
    """The form of one node, its input, its weight and its output in the runtime."""
    op, x, w, attributes = case
    operands = "w, x" if left else "x, w"
    extra = f"<{attributes}>" if attributes else ""
    proto = model(f"(float[{x}] x) => (float y) <float[{w}] w> {{ y = {op}{extra}({operands}) }}", checked=False)
    data = noise(*(int(s) for s in x.split(",")))
    (y,) = outputs(proto, {"x": data})
    array = weight(proto, "w")
    node = next(iter(ir.from_proto(proto).graph))
    shapes = (data.shape, array.shape, y.shape)
    kind = layer_kind(node)
    assert kind is not None
    return kind.make(node, 0 if left else 1, shapes), data, np.asarray(array), y


def check(form: OperandForm, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    matrix = form.matrix(w)
    assert form.sizes == matrix.shape
    assert np.array_equal(form.weight(matrix).astype(w.dtype), w)
    count = form.count(y.shape)
    pick = np.arange(count)
    made, targets = form.rows(x, y.shape, pick) @ matrix.transpose(0, 2, 1), form.targets(y, pick)
    assert made.shape == targets.shape
    assert targets.size == y.size
    assert np.abs(made - targets).max() < 1e-5 * np.abs(y).max()
    some = np.random.default_rng(0).permutation(count)[: count // 2 + 1]
    assert np.array_equal(form.rows(x, y.shape, some), form.rows(x, y.shape, pick)[:, some])
    assert np.array_equal(form.targets(y, some), targets[:, some])
    bias = np.random.default_rng(1).standard_normal(matrix.shape[:2])
    spread = form.spread(bias, y.ndim)
    assert np.allclose(form.targets(y + spread, pick), targets + bias[:, None])
    assert np.array_equal(form.gather(spread, y.ndim), bias)
    assert (form.gather(np.full(1, 2.5), y.ndim) == 2.5).all()


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    check(*linear(CONVOLUTIONS[name]))


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_the_weight_on_the_right(name: str) -> None:
    check(*linear(PRODUCTS[name]))


@pytest.mark.parametrize("name", LEFT)
def test_products_with_the_weight_on_the_left(name: str) -> None:
    check(*linear(LEFT[name], left=True))


def test_a_bias_that_varies_from_row_to_row_is_refused() -> None:
    form, _, _, y = linear(PRODUCTS["gemm"])
    with pytest.raises(Unrepairable, match="row to row"):
        form.gather(noise(5, 1), y.ndim)


@pytest.mark.parametrize("equation", ["ab,bc->b", "abc,bd->ad"])
def test_sums_over_one_operand_are_refused(equation: str) -> None:
    x, w = ("3,4,5", "4,6") if equation.startswith("abc") else ("3,4", "4,6")
    with pytest.raises(Unrepairable, match="by itself"):
        linear(("Einsum", x, w, f'equation="{equation}"'))
