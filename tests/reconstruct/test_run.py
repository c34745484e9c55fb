"""Recovery end to end: exact where it can be, never worse where it cannot, and a sound model in any case."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from compressor.channels.plan import Removal
from compressor.config.choices import RECOVERIES
from compressor.errors import UsageError
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.pruning.proofs.graphs.interface_match import demand_same_interface
from compressor.reconstruct import ReconstructOptions, layers, run, stages
from compressor.reconstruct.fit import Affine
from tests.models import model, weight
from tests.reconstruct.case import FEW, Arrays, noise, outputs, pruned

CONV = """
(float[N,4,6,6] x) => (float[n,c,h,w] y)
<float[12,4,3,3] w, float[12] b, float[8,12,3,3] v, float[8] d, float[2,8,1,1] head> {
    a = Conv<pads=[1,1,1,1]>(x, w, b)
    r = Relu(a)
    z = Conv<pads=[1,1,1,1]>(r, v, d)
    q = Relu(z)
    y = Conv(q, head)
}"""


def redundant(proto: onnx.ModelProto, name: str, axis: int, *biases: str) -> onnx.ModelProto:
    """Of the filters of a weight along ``axis``, the second half repeats the first at a smaller scale."""
    for tensor in proto.graph.initializer:
        if tensor.name in (name, *biases):
            array = np.moveaxis(numpy_helper.to_array(tensor).copy(), axis if tensor.name == name else 0, 0)
            half = len(array) // 2
            array[half : 2 * half] = 0.4 * array[:half]
            tensor.CopyFrom(
                numpy_helper.from_array(
                    np.ascontiguousarray(np.moveaxis(array, 0, axis if tensor.name == name else 0)), tensor.name
                )
            )
    return proto


TIGHT = replace(FEW, dampings=(1e-9,))
"""Damping that an exact answer does not feel."""

REDUNDANT = {
    "conv": (CONV, "w", 0, ("b",), (64, 4, 6, 6)),
    "conv_without_bias": (CONV.replace("(r, v, d)", "(r, v)"), "w", 0, ("b",), (64, 4, 6, 6)),
    "transposed": (
        """(float[N,4,5,5] x) => (float y) <float[8,4,1,1] w, float[8] b, float[8,6,3,3] v> {
            a = Conv(x, w, b)  r = Relu(a)
            y = ConvTranspose<strides=[2,2],pads=[1,1,1,1],output_padding=[1,1]>(r, v) }""",
        "w", 0, ("b",), (64, 4, 5, 5),
    ),
    "line": (
        """(float[N,4,9] x) => (float y) <float[8,4,1] w, float[8] b, float[6,8,3] v> {
            a = Conv(x, w, b)  r = Relu(a)  y = Conv<pads=[1,1]>(r, v) }""",
        "w", 0, ("b",), (64, 4, 9),
    ),
    "gemm": (
        """(float[N,6] x) => (float y) <float[12,6] w, float[12] b, float[12,4] v, float[4] d> {
            a = Gemm<transB=1>(x, w, b)  r = Relu(a)  y = Gemm<alpha=0.5,beta=2.0>(r, v, d) }""",
        "w", 0, ("b",), (512, 6),
    ),
    "matmul_add": (
        """(float[N,5,6] x) => (float y) <float[6,12] w, float[12] b, float[12,4] v, float[4] d> {
            m = MatMul(x, w)  a = Add(m, b)  r = Relu(a)  n = MatMul(r, v)  y = Add(d, n) }""",
        "w", 1, ("b",), (128, 5, 6),
    ),
    "matmul_bare": (
        """(float[N,5,6] x) => (float y) <float[6,12] w, float[12] b, float[12,4] v> {
            m = MatMul(x, w)  a = Add(m, b)  r = Relu(a)  y = MatMul(r, v) }""",
        "w", 1, ("b",), (128, 5, 6),
    ),
    "matmul_left": (
        """(float[N,6,5] x) => (float y) <float[12,6] w, float[12,1] b, float[4,12] v> {
            m = MatMul(w, x)  a = Add(m, b)  r = Relu(a)  y = MatMul(v, r) }""",
        "w", 0, ("b",), (128, 6, 5),
    ),
    "einsum": (
        """(float[N,5,6] x) => (float y) <float[6,12] w, float[12] b, float[12,2,4] v> {
            m = MatMul(x, w)  a = Add(m, b)  r = Relu(a)  y = Einsum<equation="btc,chd->bthd">(r, v) }""",
        "w", 1, ("b",), (128, 5, 6),
    ),
    "einsum_of_one": (
        """(float[N,5,6] x) => (float y) <float[6,12] w, float[12] b, float[4,12] v> {
            m = MatMul(x, w)  a = Add(m, b)  r = Relu(a)  t = Einsum<equation="btc->bct">(r)  y = MatMul(v, t) }""",
        "w", 1, ("b",), (128, 5, 6),
    ),
    "moved": (
        """(float[N,5,6] x) => (float y) <float[6,12] w, float[12] b, float[4,12] v> {
            m = MatMul(x, w)  a = Add(m, b)  r = Relu(a)  t = Transpose<perm=[1,0]>(v)  y = MatMul(r, t) }""",
        "w", 1, ("b",), (128, 5, 6),
    ),
}  # fmt: skip


@pytest.mark.parametrize("targets", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("name", REDUNDANT)
def test_channels_that_others_can_replace_are_replaced(name: str, targets: str) -> None:
    text, tensor, axis, biases, shape = REDUNDANT[name]
    proto = redundant(model(text), tensor, axis, *biases)
    size = weight(proto, tensor).shape[axis]
    removal = Removal(tensor, tensor, (axis,), tuple(range(size // 2, size)))
    found = pruned(proto, removal, simplify=name != "moved")
    x = noise(*shape)
    fresh = noise(*shape, seed=5)
    before = found.error(x=fresh)
    result = found.recover("lstsq", Arrays(x=x), replace(TIGHT, targets=targets))
    assert before > 1e-2
    assert found.error(x=fresh) < 1e-4
    assert any(layer.changed and layer.after < 1e-4 < layer.before for layer in result.layers)
    onnx.checker.check_model(ir.to_proto(found.model), full_check=True)


@pytest.mark.parametrize("method", RECOVERIES)
def test_repairs_what_is_not_redundant_as_far_as_it_goes(method: str) -> None:
    found = pruned(model(CONV))
    x = noise(256, 4, 6, 6)
    before = found.error(x=x)
    result = found.recover(method, Arrays(x=x))
    assert found.error(x=x) < before
    assert [layer.node for layer in result.layers] == ["Conv_2", "Conv_4"]
    assert all(layer.after < layer.before for layer in result.layers)


def test_bias_correction_gives_means_and_spreads_back() -> None:
    found = pruned(model(CONV))
    x = noise(512, 4, 6, 6)
    options = replace(FEW, min_rows=1 << 20)
    (far,), (want,) = outputs(found.model, {"x": x}), outputs(found.dense, {"x": x})
    found.recover("bias", Arrays(x=x), options)
    (near,) = outputs(found.model, {"x": x})
    for statistic in (np.mean, np.std):
        one, two, old = (np.asarray(statistic(a, axis=(0, 2, 3)), float) for a in (want, near, far))
        assert np.abs(one - two).max() < 0.1 * np.abs(one - old).max()


def test_means_alone_when_asked_for() -> None:
    found = pruned(model(CONV))
    weights = {n: v.const_value.numpy().copy() for n, v in found.model.graph.initializers.items() if v.const_value}
    found.recover("bias", Arrays(x=noise(64, 4, 6, 6)), replace(FEW, match_spread=False))
    now = {n: weight(found.model, n) for n in weights}
    assert {n for n in now if not np.array_equal(now[n], weights[n])} <= {"d", "Conv_4.bias"}


def test_batches_of_any_size_give_the_same() -> None:
    x = noise(64, 4, 6, 6)
    found = []
    for size in (4, 16):
        one = pruned(model(CONV))
        one.recover("lstsq", Arrays(x=x), replace(FEW, batch_size=size, min_rows=1 << 20))
        found.append(weight(one.model, "v").astype(np.float64))
    assert np.abs(found[0] - found[1]).max() < 1e-6 * np.abs(found[0]).max()


def test_it_tells_how_far_it_is_and_how_long_it_will_take() -> None:
    told: list[str] = []
    pruned(model(CONV)).recover("bias", Arrays(x=noise(64, 4, 6, 6)), replace(FEW, tell=told.append))
    assert told[0] == "recover: 0 of 2 layers"
    assert told[-1].startswith("recover: 1 of 2 layers, ")
    assert told[-1].endswith(" s left")


def test_wide_layers_are_repaired_from_rows() -> None:
    x = noise(64, 4, 6, 6)
    found = []
    for wide in (4, 6144):
        one = pruned(model(CONV))
        one.recover("lstsq", Arrays(x=x), replace(FEW, wide=wide, min_rows=1 << 12))
        found.append(weight(one.model, "v").astype(np.float64))
    assert np.abs(found[0] - found[1]).max() < 1e-6 * np.abs(found[0]).max()


def test_activations_on_disk_give_the_same() -> None:
    x = noise(32, 4, 6, 6)
    found = []
    for limit in (0, 1 << 30):
        one = pruned(model(CONV))
        one.recover("lstsq", Arrays(x=x), replace(FEW, cache_bytes=limit))
        found.append(weight(one.model, "v"))
    assert np.array_equal(found[0], found[1])


class Harmful:
    """Proposes what is worse than what is there."""

    binding = follows_errors = regresses = False

    def __init__(self, matrix: np.ndarray, layers: int, options: ReconstructOptions) -> None:
        self._found = Affine(matrix * -3, (np.ones(matrix.shape[:2]),) * layers)

    def add(self, layer: int, x: np.ndarray, y: np.ndarray) -> None:
        """Looks at nothing."""

    def proposals(self) -> object:
        yield self._found


def test_never_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.RECOVERIES, "find", lambda _: Harmful)
    found = pruned(model(CONV))
    before = {n: weight(found.model, n).copy() for n in found.model.graph.initializers}
    result = found.recover("harm", Arrays(x=noise(64, 4, 6, 6)))
    assert all(np.array_equal(weight(found.model, n), array) for n, array in before.items())
    assert all(not layer.changed and layer.after == layer.before for layer in result.layers)
    assert {layer.reason for layer in result.layers} == {"nothing tried is better on the held-out rows"}


@pytest.mark.parametrize("method", ["bias", "lstsq"])
def test_a_method_is_known_by_what_it_says_of_itself(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in (method, "by another name"):
        kind = run.RECOVERIES[method]
        monkeypatch.setattr(run.RECOVERIES, "find", lambda _, kind=kind: kind)
        one = pruned(model(CONV), exclude=("head",))
        result = one.recover(name, Arrays(x=noise(64, 4, 6, 6)), replace(FEW, targets="symmetric"))
        found.append({layer.node: layer.after for layer in result.layers})
    assert found[0] == found[1]


def test_one_batch_judges_by_rows_that_did_not_fit() -> None:
    """Sixteen rows and sixteen unknowns fit anything; the held-out rows see through it."""
    text = """(float[N,6] x) => (float y) <float[32,6] w, float[32,1] v> {
        a = Gemm<transB=1>(x, w)  r = Relu(a)  y = MatMul(r, v) }"""
    found = pruned(model(text))
    x = noise(12, 6)
    result = found.recover("lstsq", Arrays(x=x), replace(FEW, batch_size=64, dampings=(1e-12,)))
    (layer,) = result.layers
    assert layer.after <= layer.before


def test_a_shared_weight_serves_all_its_layers() -> None:
    text = """(float[N,5,6] x) => (float y, float z)
    <float[6,12] w, float[12] b, float[6,12] u, float[12] c, float[12,4] v> {
        m = MatMul(x, w)  a = Add(m, b)  r = Relu(a)  y = MatMul(r, v)
        n = MatMul(x, u)  e = Add(n, c)  s = Sigmoid(e)  z = MatMul(s, v) }"""
    proto = model(text)
    found = pruned(proto)
    first, second = (n for n in found.model.graph if n.name in ("MatMul_3", "MatMul_7"))
    assert first.inputs[1] is second.inputs[1]
    before = found.error(x=noise(64, 5, 6, seed=3))
    result = found.recover("lstsq", Arrays(x=noise(128, 5, 6)))
    assert {layer.node for layer in result.layers if layer.changed} == {"MatMul_3", "MatMul_7"}
    assert found.error(x=noise(64, 5, 6, seed=3)) < before
    assert first.inputs[1] is second.inputs[1]


def test_a_weight_that_others_read_in_another_way_stays() -> None:
    text = """(float[N,5,6] x) => (float y, float z)
    <float[6,12] w, float[12] b, float[12,4] v> {
        m = MatMul(x, w)  a = Add(m, b)  r = Relu(a)  y = MatMul(r, v)
        z = ReduceMean<keepdims=0>(v) }"""
    proto = model(text)
    found = pruned(proto, include=("w",))
    node = next(n for n in found.model.graph if n.op_type == "MatMul" and n.outputs[0].name == "y")
    reader = next((n for n in found.model.graph if n.op_type == "ReduceMean"), None)
    if reader is None:
        pytest.skip("folded")
    reader.replace_input_with(0, node.inputs[1])
    result = found.recover("lstsq", Arrays(x=noise(16, 5, 6)))
    assert "reads its weight too" in result.skipped[str(node.name)]


def test_several_inputs_and_a_fixed_batch() -> None:
    text = """(float[2,6] x, float[2,6] u) => (float[2,4] y)
    <float[12,6] w, float[12] b, float[12,4] v> {
        s = Add(x, u)  a = Gemm<transB=1>(s, w, b)  r = Relu(a)  y = MatMul(r, v) }"""
    found = pruned(model(text))
    feeds = {"x": noise(2, 6, seed=8), "u": noise(2, 6, seed=9)}
    before = found.error(**feeds)
    result = found.recover("lstsq", Arrays(x=noise(101, 6), u=noise(101, 6, seed=1)))
    assert [layer.changed for layer in result.layers] == [True]
    assert found.error(**feeds) < before
    assert batch_limit(found.model) == 2


def test_a_batch_of_one_row_does_not_pass_for_exact() -> None:
    text = """(float[1,6] x) => (float[1,4] y) <float[12,6] w, float[12] b, float[12,4] v> {
        a = Gemm<transB=1>(x, w, b)  r = Relu(a)  y = MatMul(r, v) }"""
    result = pruned(model(text)).recover("lstsq", Arrays(x=noise(128, 6)))
    assert [layer.changed for layer in result.layers] == [True]


def test_fewer_samples_than_the_batch_are_repeated() -> None:
    text = (
        "(float[8,6] x) => (float[8,4] y) <float[12,6] w, float[12,4] v> { a = Gemm<transB=1>(x, w) y = MatMul(a, v) }"
    )
    found = pruned(model(text))
    assert found.recover("lstsq", Arrays(x=noise(3, 6))).layers


NORMS = """
(float[N,4,6,6] x) => (float[n,c,h,w] y)
<float[12,4,3,3] w, float[8,12,3,3] v, float[8] sg, float[8] d, float[8] m, float[8] sv, float[2,8,1,1] head> {
    a = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(a)
    z = Conv<pads=[1,1,1,1]>(r, v)
    k = BatchNormalization(z, sg, d, m, sv)
    q = Relu(k)
    y = Conv(q, head)
}"""


def test_a_normalisation_alone_brings_means_and_spreads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    read = layers.layer_kind
    monkeypatch.setattr(layers, "layer_kind", lambda node: read(node) if node.op_type == "BatchNormalization" else None)
    found = pruned(model(NORMS), include=("w",))
    x = noise(512, 4, 6, 6)
    (far,), (want,) = outputs(found.model, {"x": x}), outputs(found.dense, {"x": x})
    result = found.recover("bias", Arrays(x=x), replace(FEW, min_rows=1 << 20))
    (near,) = outputs(found.model, {"x": x})
    assert [layer.node for layer in result.layers] == ["BatchNormalization_3"]
    assert np.abs(near.mean() - want.mean()) < 0.2 * np.abs(far.mean() - want.mean())
    assert np.square(near - want).sum() < np.square(far - want).sum()


def test_statistics_that_are_computed_are_left_alone() -> None:
    text = NORMS.replace("BatchNormalization(z, sg, d, m, sv)", "BatchNormalization(z, sg, d, mm, sv)")
    text = text.replace("k = Batch", "mm = Sin(m)  k = Batch")
    found = pruned(model(text), simplify=False)
    result = found.recover("lstsq", Arrays(x=noise(16, 4, 6, 6)))
    assert "statistics" in result.skipped["BatchNormalization_4"]


def test_weights_that_only_came_out_equal_are_repaired_apart() -> None:
    text = """(float[N,6] x) => (float y, float z) <float[12,6] w, float[12] b, float[12,4] v, float[12,4] u> {
        a = Gemm<transB=1>(x, w, b)  r = Relu(a)  y = MatMul(r, v)  z = MatMul(r, u) }"""
    found = pruned(model(text))
    first, second = (n for n in found.model.graph if n.outputs[0].name in ("y", "z"))
    before = found.error(x=noise(64, 6))
    found.model.graph.initializers["u"].const_value = ir.tensor(weight(found.model, "v").copy(), name="u")
    second.replace_input_with(1, first.inputs[1])
    found.recover("lstsq", Arrays(x=noise(256, 6)))
    assert first.inputs[1] is not second.inputs[1]
    assert found.error(x=noise(64, 6)) < before


def test_one_weight_multiplied_by_different_factors_stays() -> None:
    text = """(float[N,6] x) => (float y, float z) <float[12,6] w, float[12] b, float[12,4] v, float[12,4] u> {
        a = Gemm<transB=1>(x, w, b)  r = Relu(a)  y = Gemm<alpha=0.5>(r, v)  z = Gemm<alpha=2.0>(r, u) }"""
    found = pruned(model(text))
    first, second = (n for n in found.model.graph if n.outputs[0].name in ("y", "z"))
    second.replace_input_with(1, first.inputs[1])
    (dense,) = (n for n in found.dense.graph if n.outputs[0].name == "z")
    dense.replace_input_with(1, found.dense.graph.initializers["v"])
    before = weight(found.model, "v").copy()
    result = found.recover("lstsq", Arrays(x=noise(64, 6)))
    assert set(result.skipped.values()) == {"layers that share its weight read it in other ways"}
    assert np.array_equal(weight(found.model, "v"), before)


def test_float16() -> None:
    text = """(float16[N,6] x) => (float16 y) <float16[24,6] w, float16[24] b, float16[24,4] v> {
        a = Gemm<transB=1>(x, w, b)  r = Relu(a)  y = MatMul(r, v) }"""
    found = pruned(model(text))
    x = noise(256, 6).astype(np.float16)
    before = found.error(x=x)
    result = found.recover("lstsq", Arrays(x=x))
    assert result.layers[0].changed
    assert weight(found.model, "v").dtype == np.float16
    assert found.error(x=x) < before


def test_bodies_of_control_flow_are_left_alone() -> None:
    text = """(float[N,6] x, bool c) => (float y) <float[12,6] w, float[12] b, float[12,4] v> {
        a = Gemm<transB=1>(x, w, b)  r = Relu(a)  s = MatMul(r, v)
        y = If(c) <then_branch = t () => (float o) <float[4,1] k = {1.,0.,0.,2.}> { o = MatMul(s, k) },
                   else_branch = e () => (float p) { p = Identity(s) }> }"""
    proto = model(text, checked=False)
    found = pruned(proto)
    result = found.recover("lstsq", _Flagged())
    assert [layer.node for layer in result.layers if layer.changed] == ["MatMul_2"]
    assert any("control-flow" in reason for reason in result.skipped.values())


class _Flagged(Arrays):
    """A flag beside the samples."""

    def __init__(self) -> None:
        super().__init__(x=noise(64, 6))

    def take(self, indices: np.ndarray) -> object:  # type: ignore[override]
        batch = super().take(indices)
        batch.inputs["c"] = np.asarray(True)
        return batch


def test_no_data_and_no_method() -> None:
    found = pruned(model(CONV))
    with pytest.raises(UsageError, match="empty"):
        found.recover("lstsq", Arrays(x=noise(0, 4, 6, 6)))
    with pytest.raises(UsageError, match="there are bias, lstsq"):
        found.recover("magic", Arrays(x=noise(4, 4, 6, 6)))
    with pytest.raises(UsageError, match="no input 'x'; it has u"):
        found.recover("lstsq", Arrays(u=noise(4, 4, 6, 6)))


def test_signature_and_names_stay() -> None:
    found = pruned(model(REDUNDANT["matmul_bare"][0]))
    names = set(found.model.graph.initializers)
    found.recover("lstsq", Arrays(x=noise(64, 5, 6)))
    demand_same_interface(found.dense, found.model)
    assert names <= set(found.model.graph.initializers)
    assert [n.op_type for n in found.model.graph][-2:] == ["MatMul", "Add"], "a product without a bias gets an Add"


def test_a_disk_without_room_for_activations_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, array: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stages, "save_array", full)
    with pytest.raises(UsageError, match="activations do not fit into the temporary folder: No space left on device"):
        pruned(model(CONV)).recover("lstsq", Arrays(x=noise(8, 4, 6, 6)), replace(FEW, cache_bytes=0))
