from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.config import BlockShape
from compressor.errors import ModelError
from compressor.unification.assignment import FREE, PRUNED, UNIFIED
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.measure import ideal_bits, operations, satisfied
from compressor.unification.packed import HALF_TYPES, Packed, digit_table, from_bytes, pack_blocks, to_bytes
from compressor.unification.projections import Mixed
from compressor.unification.unpack import install
from tests.unification.cases import layouts, weight

SHARES = ((1.0, 0.0), (0.5, 0.0), (0.4, 0.4), (0.0, 0.5), (0.0, 1.0), (0.7, 0.3))
DTYPES = (np.float32, np.float16, np.float64, ir.DataType.BFLOAT16.numpy())


def pack(layout: Blocking, shares: tuple[float, float], w: Any, magnitudes: str = "float16") -> Packed:
    wide = w.astype(np.float32) if w.dtype in HALF_TYPES else w
    projection = Mixed(layout, *shares)
    kinds = projection.kinds(wide)
    return pack_blocks(projection.impose(wide, kinds).astype(w.dtype), layout, kinds, magnitudes)


def kinds(*found: int) -> Any:
    return np.array(found, np.uint8)


def model_of(packed: Packed, opset: int = 20) -> onnx.ModelProto:
    """A model whose output is the unpacked weight."""
    dtype = ir.DataType.from_numpy(packed.dtype)
    shape = ir.Shape(packed.layout.view.shape)
    value = ir.Value(name="W", shape=shape, type=ir.TensorType(dtype), const_value=ir.tensor(packed.decode(), name="W"))
    node = ir.node("Cast", [value], attributes={"to": int(ir.DataType.DOUBLE)})
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = "y", shape, ir.TensorType(ir.DataType.DOUBLE)
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=[value], opset_imports={"": opset}, name="g")
    model = ir.Model(graph, ir_version=8)
    install(model, {value: packed})
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(proto: onnx.ModelProto, *, optimise: bool) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, {})[0]


@settings(deadline=None, max_examples=60)
@given(layouts(), st.sampled_from(SHARES), st.sampled_from(DTYPES), st.sampled_from((13, 20, 25)))
def test_the_runtime_unpacks_bit_by_bit(layout: Blocking, shares: tuple[float, float], dtype: Any, opset: int) -> None:
    w = weight(layout.view.shape, dtype=dtype)
    packed = pack(layout, shares, w)
    expected = packed.decode()
    assert expected.dtype == w.dtype
    assert satisfied(expected, w, layout, packed.kinds())
    for optimise in (False, True):
        found = run(model_of(packed, opset), optimise=optimise)
        assert found.tobytes() == expected.astype(np.float64).tobytes()


@pytest.mark.parametrize("opset", range(7, 13))
@pytest.mark.parametrize("shares", SHARES)
def test_old_operator_sets_need_no_raise(opset: int, shares: tuple[float, float]) -> None:
    layout = Blocking(CanonicalAxes.of((9, 5, 3), "oit"), BlockShape.parse("3x2"))
    packed = pack(layout, shares, weight((9, 5, 3)))
    proto = model_of(packed, opset)
    assert proto.opset_import[0].version == opset
    assert np.array_equal(run(proto, optimise=True), packed.decode())


def test_an_operator_set_before_broadcasting_is_refused() -> None:
    layout = Blocking(CanonicalAxes.of((4, 4), "oi"), BlockShape.parse("4x4"))
    with pytest.raises(ModelError, match="operator set 6 is too old"):
        model_of(pack(layout, (1.0, 0.0), weight((4, 4))), 6)


@given(st.lists(st.integers(0, 2)), st.sampled_from((2, 3)))
def test_digits_come_back_from_bytes(digits: list[int], base: int) -> None:
    array = np.array(digits, np.uint8) % base
    data = to_bytes(array, base)
    assert len(data) == -(-len(digits) // {2: 8, 3: 5}[base])
    assert np.array_equal(from_bytes(data, base, len(digits)), array)


def test_bits_are_those_of_the_byte_most_significant_first() -> None:
    assert np.array_equal(digit_table(2), np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1))


BIG = Blocking(CanonicalAxes.of((256, 256, 9), "oit"), BlockShape.parse("4x4"))


def test_a_unified_layer_takes_a_bit_a_weight_and_a_half_a_block() -> None:
    packed = pack(BIG, (1.0, 0.0), weight(BIG.view.shape))
    weights = 256 * 256 * 9
    assert packed.stored == weights // 8 + weights // 16 * 2
    assert weights * 4 / packed.stored == 16
    assert len(model_of(packed).SerializeToString()) - packed.stored < 8000


@pytest.mark.parametrize(
    ("pruned", "order"), [(0.0, (UNIFIED,)), (0.001, (UNIFIED,)), (0.5, (UNIFIED, PRUNED)), (1.0, (PRUNED,))]
)
def test_pruned_blocks_are_stored_the_smaller_way(pruned: float, order: tuple[int, ...]) -> None:
    packed = pack(BIG, (1 - pruned, pruned), weight(BIG.view.shape))
    assert packed.order == order
    assert (packed.kinds() == PRUNED).sum() == int(pruned * BIG.count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e4, 1e6])
def test_magnitudes_keep_their_precision_at_any_size(size: float, dtype: Any) -> None:
    if dtype is np.float16 and not 1e-3 <= size <= 1e3:
        return
    layout = Blocking(CanonicalAxes.of((32, 32), "oi"), BlockShape.parse("4x4"))
    w = (weight((32, 32)) * size).astype(dtype)
    z = Mixed(layout).project(w.astype(np.float64))
    packed = pack(layout, (1.0, 0.0), w)
    np.testing.assert_allclose(packed.decode().astype(np.float64), z, rtol=6e-3 if dtype is DTYPES[3] else 1e-3)
    assert np.array_equal(run(model_of(packed), optimise=False), packed.decode().astype(np.float64))


def test_weights_below_every_normal_number_are_numbers() -> None:
    layout = Blocking(CanonicalAxes.of((8, 8), "oi"), BlockShape.parse("4x4"))
    packed = pack_blocks(
        np.full((8, 8), 1e-42, np.float32), layout, np.full(layout.count, UNIFIED, np.uint8), "float16"
    )
    np.testing.assert_allclose(packed.decode(), np.float32(1e-42), rtol=0.01)


def test_float32_magnitudes_change_no_bit_of_a_projected_weight() -> None:
    layout = Blocking(CanonicalAxes.of((16, 16), "oi"), BlockShape.parse("1x8"))
    z = Mixed(layout, 0.5, 0.25).project(weight((16, 16)))
    kinds = Mixed(layout, 0.5, 0.25).kinds(weight((16, 16)))
    assert np.array_equal(pack_blocks(z, layout, kinds, "float32").decode(), z)


def test_a_block_that_rounds_to_nothing_is_pruned() -> None:
    layout = Blocking(CanonicalAxes.of((64, 4), "oi"), BlockShape.parse("1x4"))
    w = np.array([[1e4] * 4] * 63 + [[-1e-9] * 4], np.float32)
    packed = pack_blocks(w, layout, np.full(64, UNIFIED, np.uint8), "float16")
    assert packed.order == (UNIFIED,), "one zero is cheaper than a map"
    assert packed.kinds().tolist() == [UNIFIED] * 63 + [PRUNED]
    assert not np.signbit(packed.decode()).any(), "no negative zero"


def test_names_that_are_taken_are_left_alone() -> None:
    layout = Blocking(CanonicalAxes.of((4, 4), "oi"), BlockShape.parse("4x4"))
    packed = pack(layout, (1.0, 0.0), weight((4, 4)))
    values = [ir.Value(name=n, const_value=ir.tensor(np.zeros((4, 4), np.float32), name=n)) for n in ("W", "W.signs")]
    for value in values:
        value.shape, value.type = ir.Shape((4, 4)), ir.TensorType(ir.DataType.FLOAT)
    node = ir.node("Add", values)
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = "y", values[0].shape, values[0].type
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=values, opset_imports={"": 20}, name="g")
    model = ir.Model(graph, ir_version=8)
    install(model, {values[0]: packed})
    assert np.array_equal(run(ir.to_proto(model), optimise=False), packed.decode())


def test_bits_are_counted_as_in_the_paper() -> None:
    layout = Blocking(CanonicalAxes.of((4, 4), "oi"), BlockShape.parse("1x4"))
    assert ideal_bits(layout, kinds(UNIFIED, UNIFIED, UNIFIED, UNIFIED), 32, 32) == 4 * (32 + 4)
    assert ideal_bits(layout, kinds(UNIFIED, PRUNED, FREE, FREE), 32, 16) == 2 * 4 * 32 + 16 + 4 + 6.0
    ragged = Blocking(CanonicalAxes.of((1, 5), "oi"), BlockShape.parse("1x3"))
    assert ideal_bits(ragged, kinds(UNIFIED, UNIFIED), 32, 16) == 2 * 16 + 5
    assert ideal_bits(ragged, kinds(UNIFIED, FREE), 32, 16) == 16 + 3 + 2 * 32 + 2


@pytest.mark.parametrize(("block", "products"), [("1x4", 4), ("4x1", 4), ("2x4", 2 * 2), ("4x4", 4)])
def test_multiplications_and_additions_are_counted_apart(block: str, products: int) -> None:
    layout = Blocking(CanonicalAxes.of((4, 4), "oi"), BlockShape.parse(block))
    assert operations(layout, kinds(*[UNIFIED] * layout.count)) == (products, 16)
    assert operations(layout, kinds(*[PRUNED] * layout.count)) == (0, 0)
    assert operations(layout, kinds(*[FREE] * layout.count)) == (16, 16)


def test_blocks_at_the_edges_count_as_large_as_they_are() -> None:
    layout = Blocking(CanonicalAxes.of((5, 4), "oi"), BlockShape.parse("4x4"))
    assert operations(layout, kinds(UNIFIED, UNIFIED)) == (4 + 1, 20)
    assert operations(layout, kinds(UNIFIED, FREE)) == (4 + 4, 20)


def test_the_check_of_a_constraint_sees_one_bit() -> None:
    layout = Blocking(CanonicalAxes.of((6, 8), "oi"), BlockShape.parse("2x4"))
    w = weight((6, 8))
    packed = pack(Blocking(CanonicalAxes.of((6, 8), "oi"), BlockShape.parse("2x4")), (0.4, 0.4), w)
    good, kinds = packed.decode(), packed.kinds()
    assert satisfied(good, w, layout, kinds)
    for position in range(good.size):
        bad = good.copy()
        bad.ravel()[position] = np.nextafter(bad.ravel()[position], np.float32(9))
        assert not satisfied(bad, w, layout, kinds)
