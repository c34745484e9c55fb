"""Sizes of single layers, what two factors of them cost, and which layers structures suit."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from compressor.operators.table import operator_of
from compressor.structures.layer.geometry import Geometry, divisible, maskable, spatial
from tests.models import in_memory, model

CONV = "(float[2,8,9,9] x) => (float y) <float[12,4,3,3] w> { y = Conv<group=2, strides=[2,2], pads=[1,1,1,1]>(x, w) }"
SHAPES = ((2, 8, 9, 9), (12, 4, 3, 3), (2, 12, 5, 5))


def node(text: str, **options: int) -> ir.Node:
    return in_memory(model(text, **options)).graph[0]


def convolution() -> Geometry:
    found = Geometry.of(node(CONV), 1, SHAPES)
    assert found is not None
    return found


def test_sizes_of_a_strided_convolution_in_groups() -> None:
    assert convolution() == Geometry(2, 4, 6, 9, before=2 * 81, after=2 * 25, slides=2 * 25)
    assert convolution().macs == 2 * 25 * 12 * 4 * 9
    assert convolution().params == 12 * 4 * 9


def test_shapes_that_are_not_known_tell_no_sizes() -> None:
    for place in range(3):
        assert Geometry.of(node(CONV), 1, [None if k == place else s for k, s in enumerate(SHAPES)]) is None


@pytest.mark.parametrize("rank", [1, 3])
def test_two_factors_cost_what_the_two_layers_cost(rank: int) -> None:
    """Outputs thinned: the kernel with few filters, then a pointwise layer; inputs thinned: the other way round."""
    one, thin = convolution(), 2 * rank
    assert one.factored_params("outputs", rank) == thin * 4 * 9 + 12 * rank
    assert one.factored_macs("outputs", rank) == 50 * (thin * 4 * 9) + 50 * (12 * rank)
    assert one.factored_params("inputs", rank) == thin * 4 + 12 * rank * 9
    assert one.factored_macs("inputs", rank) == 162 * (thin * 4) + 50 * (12 * rank * 9)


def test_ranks_that_are_no_approximation() -> None:
    assert (convolution().widest("outputs"), convolution().widest("inputs")) == (6, 4)


@pytest.mark.parametrize(
    ("text", "weight", "masks", "factors"),
    [
        ("x = Conv(a, w)", (8, 4, 3, 3), None, None),
        ("x = Conv<group=2>(a, w)", (8, 2, 3, 3), "it has groups already", None),
        ("x = Conv<group=4>(a, w)", (4, 1, 3, 3), "it has groups already", "each of its groups has one filter"),
        ("x = ConvTranspose(a, w)", (4, 8, 3, 3), "masks are not laid over transposed", None),
        ("x = DeformConv(a, w, o)", (8, 4, 3, 3), "between positions", "between positions"),
        ("x = Gemm(m, v)", (4, 8), "masks are for convolutions", None),
        ("x = MatMul(m, u)", (2, 4, 8), "masks are for convolutions", "its weight is no single matrix"),
    ],
)
def test_what_suits_a_layer(text: str, weight: tuple[int, ...], masks: str | None, factors: str | None) -> None:
    operands = "float[1,4,8,8] a, float[1,18,6,6] o, float[3,4] m, float[4,8] v, float[2,4,8] u"
    shape = "x".join(map(str, weight)).replace("x", ",")
    kernel = f", float[{shape}] w" if len(weight) == 4 else ""
    layer = node(f"({operands}{kernel}) => (float x) {{ {text} }}", opset=22)
    for rule, expected in ((maskable, masks), (divisible, factors)):
        found = rule(operator_of(layer), layer, 1, weight)
        assert (found is None) == (expected is None)
        assert (expected or "") in (found or "")


def test_kernels_of_one_tap_have_no_other_basis() -> None:
    layer = node("(float[1,4,8,8] a, float[8,4,1,1] w) => (float x) { x = Conv(a, w) }")
    assert maskable(operator_of(layer), layer, 1, (8, 4, 1, 1)) is None
    assert "one tap" in str(spatial(operator_of(layer), layer, 1, (8, 4, 1, 1)))
