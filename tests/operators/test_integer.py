"""Products and sums of integers on a grid, in front of which zero is the zero point."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import blocked, group
from compressor.config import PruneSettings
from compressor.operators.quantization_grid import grid_of, real, reals_each
from compressor.operators.table import RULES
from compressor.pruning.cut import surgery
from compressor.pruning.cut.analysis import analyse
from tests.models import in_memory, model, tokens

from .case import MICROSOFT, Case, check, image, token

GRID = "float fine = {0.05}, uint8 zero = {128}, float coarse = {0.1}, uint8 low = {90}"
SIGNED = "float fine = {0.05}, int8 zero = {3}, float coarse = {0.1}, int8 low = {-9}"
IN, OUT = "q = QuantizeLinear(a, fine, zero)", "b = DequantizeLinear(r, coarse, low)"


def pixels(name: str, body: str, more: str = "", **other: object) -> Case:
    """``body`` from q to r, both uint8, between two convolutions."""
    return image(name, f"{IN} {body} {OUT}", more=GRID + more, **other)


def words(name: str, body: str, more: str = "", **other: object) -> Case:
    """The same between two matrix products."""
    return token(name, f"{IN} {body} {OUT}", more=GRID + more, **other)


CASES = (
    pixels("QLinearConv by filter", "r = QLinearConv<pads=[1,1,1,1]>(q, fine, zero, k, s, zk, coarse, low, p)",
           ", uint8[16,16,3,3] k, float[16] s, uint8[16] zk, int32[16] p", removed={"w": 8, "k": 8, "v": 4}),
    image("QLinearConv of signed activations", f"{IN} r = QLinearConv(q, fine, zero, k, fine, zero, coarse, low) {OUT}",
          {"w": 8, "k": 8, "v": 4}, more=f"{SIGNED}, int8[16,16,1,1] k"),
    pixels("QLinearConv depthwise",
           "r = QLinearConv<group=16,pads=[1,1,1,1]>(q, fine, zero, k, fine, zero, coarse, low)",
           ", uint8[16,1,3,3] k", removed={"w": 8, "v": 4}),
    pixels("QLinearConv in groups", "r = QLinearConv<group=4>(q, fine, zero, k, fine, zero, coarse, low)",
           ", uint8[16,4,1,1] k", removed={"w": 8, "k": 8, "v": 4}),
    image("ConvInteger", f"{IN} i = ConvInteger(q, k, zero, zk) f = Cast<to=1>(i) b = Mul(f, fine)",
          {"w": 8, "k": 8, "v": 4}, more=f"{GRID}, uint8[16,16,1,1] k, uint8 zk = {{120}}"),
    image("ConvInteger without zero points", f"{IN} i = ConvInteger(q, k) f = Cast<to=1>(i) b = Mul(f, fine)",
          {"w": 8, "k": 8, "v": 4}, more=f"{GRID}, uint8[16,16,1,1] k"),
    words("QLinearMatMul by column", "r = QLinearMatMul(q, fine, zero, k, s, zk, coarse, low)",
          ", uint8[16,16] k, float[16] s, uint8[16] zk", removed={"w": 8, "k": 8, "v": 3}),
    words("QLinearMatMul of a batch of matrices", "r = QLinearMatMul(q, fine, zero, k, fine, zero, coarse, low)",
          ", uint8[3,16,16] k", removed={"w": 8, "k": 8, "v": 3}),
    words("QLinearMatMul of fewer axes", "r = QLinearMatMul(q, fine, zero, k, fine, zero, coarse, low)",
          ", uint8[1,3,16,16] k", removed={"v": 3}, frozen={"w": "multiplies operands of 3 and 4 axes"}),
    words("QLinearMatMul of activations",
          """t = Transpose<perm=[0,2,1]>(q) c = QLinearMatMul(q, fine, zero, t, fine, zero, coarse, low)
          r = QLinearMatMul(c, coarse, low, q, fine, zero, coarse, low)""", removed={"w": 8, "v": 3}),
    token("MatMulInteger as dynamic quantisation leaves it",
          """q, scale, zero = DynamicQuantizeLinear(a) i = MatMulInteger(q, k, zero, zk) f = Cast<to=1>(i)
          both = Mul(scale, s) b = Mul(f, both)""", {"w": 8, "k": 8, "v": 3},
          more="uint8[16,16] k, float[16] s, uint8[16] zk"),
    token("DynamicQuantizeLinear of what a sigmoid makes",
          "g = Sigmoid(a) q, scale, zero = DynamicQuantizeLinear(g) b = DequantizeLinear(q, scale, zero)"),
    token("DynamicQuantizeMatMul", "b = com.microsoft.DynamicQuantizeMatMul(a, k, s, zk, p)",
          {"w": 8, "k": 8, "v": 3}, more="uint8[16,16] k, float[16] s, uint8[16] zk, float[16] p", **MICROSOFT),
    token("MatMulIntegerToFloat",
          """q, scale, zero = DynamicQuantizeLinear(a)
          b = com.microsoft.MatMulIntegerToFloat(q, k, scale, s, zero, zk, p)""", {"w": 8, "k": 8, "v": 3},
          more="uint8[16,16] k, float[16] s, uint8[16] zk, float[16] p", **MICROSOFT),
    image("QGemm", f"""{IN} f = Flatten(q) g = com.microsoft.QGemm<transB=1>(f, fine, zero, k, s, zk, p, coarse, low)
          d = DequantizeLinear(g, coarse, low) b = Reshape(d, shape)""", {"w": 8, "k": 8, "v": 4},
          more=f"{GRID}, uint8[16,576] k, float[16] s, uint8[16] zk, int32[16] p, int64[4] shape = {{3,16,1,1}}",
          **MICROSOFT),
    image("QGemm to floats", f"""{IN} f = Flatten(q) d = com.microsoft.QGemm(f, fine, zero, k, fine, zero)
          b = Reshape(d, shape)""", {"w": 8, "k": 8, "v": 4},
          more=f"{GRID}, uint8[576,16] k, int64[4] shape = {{3,16,1,1}}", **MICROSOFT),
    pixels("QLinearAdd", "r = com.microsoft.QLinearAdd(q, fine, zero, q, fine, zero, coarse, low)", **MICROSOFT),
    pixels("QLinearMul", "r = com.microsoft.QLinearMul(q, fine, zero, k, fine, zero, coarse, low)",
           ", uint8[16,1,1] k", **MICROSOFT),
    pixels("QLinearLeakyRelu", "r = com.microsoft.QLinearLeakyRelu<alpha=0.1>(q, fine, zero, coarse, low)",
           **MICROSOFT),
    pixels("QLinearSigmoid", "r = com.microsoft.QLinearSigmoid(q, fine, zero, coarse, low)", **MICROSOFT),
    pixels("QLinearSoftmax over space",
           "r = com.microsoft.QLinearSoftmax<opset=13,axis=3>(q, fine, zero, coarse, low)",
           **MICROSOFT),
    pixels("QLinearSoftmax over channels",
           "r = com.microsoft.QLinearSoftmax<opset=13,axis=1>(q, fine, zero, coarse, low)",
           removed={"v": 4}, frozen={"w": "QLinearSoftmax normalises along it"}, **MICROSOFT),
    pixels("QLinearAveragePool",
           "r = com.microsoft.QLinearAveragePool<kernel_shape=[2,2]>(q, fine, zero, coarse, low)", **MICROSOFT),
    pixels("QLinearGlobalAveragePool", "r = com.microsoft.QLinearGlobalAveragePool(q, fine, zero, coarse, low)",
           **MICROSOFT),
    pixels("QLinearConcat", "r = com.microsoft.QLinearConcat<axis=1>(coarse, low, q, fine, zero, q, fine, zero)",
           out=32, **MICROSOFT),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_integer(case: Case) -> None:
    check(case)


def test_the_reference_masks_bytes_with_sign_as_wider_integers() -> None:
    """ONNX Runtime 1.24 has no Where for int8."""
    case = next(c for c in CASES if c.name == "QLinearConv of signed activations")
    analysis = analyse(in_memory(case.build()), PruneSettings())
    cut = ChannelMask(analysis.coupling, group(analysis.coupling)[0].units[:4])
    reference, _ = surgery.mask(analysis.model, cut)
    where = [node for node in reference.graph if node.op_type == "Where"]
    sources = [v.producer() for node in where for v in node.inputs[1:] if v is not None]
    assert {n.op_type for n in sources if n is not None} == {"Cast"}


def test_scales_by_row_of_the_activations_are_declined() -> None:
    body = f"{IN} r = QLinearMatMul(q, s, zk, k, fine, zero, coarse, low) {OUT}"
    proto = tokens(body, more=f"{GRID}, uint8[16,16] k, float[3,5,1] s, uint8[3,5,1] zk")
    analysis = analyse(in_memory(proto), PruneSettings())
    reasons = [row.reason.reason for row in blocked(analysis.coupling)]
    assert "QLinearMatMul: has scales or zero points along an axis of activations" in reasons


def weight(proto: onnx.ModelProto, name: str = "k") -> tuple[np.ndarray, np.ndarray]:
    """What ``real`` makes of a weight, and what its DequantizeLinear makes."""
    value = in_memory(proto).graph.initializers[name]
    assert value.const_value is not None
    expected = ReferenceEvaluator(proto).run(None, {})[0]
    return real(value, value.const_value.numpy()), np.asarray(expected)


@pytest.mark.parametrize(
    "text",
    [
        "<uint8[6,4] k, float s, uint8 z> { y = DequantizeLinear(k, s, z) }",
        "<int8[6,4] k, float[6] s, int8[6] z> { y = DequantizeLinear<axis=0>(k, s, z) }",
        "<int8[6,4] k, float[4] s> { y = DequantizeLinear<axis=-1>(k, s) }",
        "<uint8[6,4] k, float[3,4] s, uint8[3,4] z> { y = DequantizeLinear<axis=0,block_size=2>(k, s, z) }",
    ],
)
def test_a_weight_counts_as_what_it_stands_for(text: str) -> None:
    found, expected = weight(model(f"() => (float y) {text}", opset=21))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_transposed_matrix_has_its_scales_in_rows() -> None:
    text = """(uint8[3,4] x) => (float y) <uint8[5,4] k, float[5] s, uint8[5] z, float one = {1.0}, uint8 n = {0}> {
        y = com.microsoft.QGemm<transB=1>(x, one, n, k, s, z) }"""
    proto = model(text, domains=("com.microsoft",), checked=False)
    arrays = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in proto.graph.initializer}
    value = in_memory(proto).graph.initializers["k"]
    found = real(value, arrays["k"].astype(np.uint8))
    np.testing.assert_allclose(found, (arrays["k"] - arrays["z"][:, None]) * arrays["s"][:, None], rtol=1e-6)


def test_a_scale_that_is_computed_counts_as_one() -> None:
    text = "(float[1] x) => (float y) <int8[4] k, int8 z> { s = ReduceSum(x) y = DequantizeLinear(k, s, z) }"
    value = in_memory(model(text)).graph.initializers["k"]
    zero = in_memory(model(text)).graph.initializers["z"].const_value
    assert value.const_value is not None
    assert zero is not None
    array = value.const_value.numpy()
    assert real(value, array).tolist() == (array.astype(np.float32) - zero.numpy().astype(np.float32)).tolist()


def test_weights_are_told_from_scales_zero_points_and_shapes() -> None:
    text = """(float[4] x) => (float y) <int8[4] k, float s, int8 z, int64[1] shape = {4}> {
        w = DequantizeLinear(k, s, z) a = Mul(x, w) y = Reshape(a, shape) }"""
    found = {str(v.name): bool(reals_each(v)) for v in in_memory(model(text)).graph.initializers.values()}
    assert found == {"k": True, "s": False, "z": False, "shape": False}


def test_grids_name_inputs_that_their_operators_have() -> None:
    for (domain, op), operator in RULES.items():
        if not domain and operator.grid:
            count = onnx.defs.get_schema(op, 21).max_input
            grids = operator.grid.items()
            assert all(k < count and (g.scale or 0) < count and (g.zero or 0) < count for k, g in grids)


def test_the_first_reader_on_a_grid_counts() -> None:
    text = "() => (float y, int8 i) <int8[4] k, float s> { i = Identity(k) y = DequantizeLinear(k, s) }"
    found = grid_of(in_memory(model(text)).graph.initializers["k"])
    assert found is not None
    assert found[0].op_type == "DequantizeLinear"


ELSEWHERE = frozenset(
    {"DequantizeWithOrder", "GroupQueryAttention", "MatMulBlockQuantizedFp4Weight", "MatMulNBitsMlp", "MatMulNBitsQkv"}
    | {"PagedAttention", "QLinearConcat", "SparsePagedAttention", "TorchEmbedding"}
)
"""Operators that read integers beside scales and that nothing is said of here: made on other devices while a model is
loaded, scales of caches, or as many operands as there are."""


def test_every_operator_of_the_runtime_that_reads_integers_by_scales_says_which() -> None:
    """Else its weights would count for nothing, and its scales as parameters."""
    silent = []
    for schema in get_all_operator_schema():
        kinds = {kind.type_param_str: set(kind.allowed_type_strs) for kind in schema.type_constraints}
        whole = [i for i in schema.inputs if kinds.get(i.typeStr, {i.typeStr}) & {"tensor(int8)", "tensor(uint8)"}]
        scaled = [i for i in schema.inputs if "scale" in i.name.lower() or i.name == "absmax"]
        record = RULES.get((schema.domain, schema.name))
        told = record is not None and (record.grid or record.packed or record.scales)
        ordered = schema.name.startswith("QOrdered")
        if schema.domain == "com.microsoft" and whole and scaled and not told and not ordered:
            silent.append(schema.name)
    assert set(silent) == ELSEWHERE
