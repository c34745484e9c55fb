"""The one knife: what is left of every weight is exactly what was kept, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from tests.models import between, in_memory, model, weight
from tests.oracle import pair
from tests.property.idioms import IDIOMS

SETTINGS = PruneSettings(ratio=0.5, round_to=1)
NETWORKS = ("resnet", "shufflenet", "densenet", "swin", "llama", "tagger", "gpt")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_is_a_part_of_the_original(name: str) -> None:
    """By the masks alone: compacting with numpy gives what surgery gave."""
    source = in_memory(IDIOMS[f"network.{name}"]())
    found = pair(source, SETTINGS)
    analysed = {str(v.name): v for v in found.cut.coupling.graph.initializers.values()}
    untouched = pair(source, SETTINGS.model_copy(update={"ratio": 0.0})).smaller
    checked = 0
    for key, value in analysed.items():
        if key not in untouched.graph.initializers:
            continue  # a shape or index that a repair added
        before, after = weight(untouched, key), weight(found.smaller, key)
        mask = found.cut.mask(value)
        if mask is None:
            np.testing.assert_array_equal(after, before)
            continue
        kept = before[np.broadcast_to(mask, before.shape)]
        np.testing.assert_array_equal(after.ravel(), kept)
        assert after.dtype == before.dtype
        checked += 1
    assert checked > 5


def test_names_types_and_nodes_stay() -> None:
    proto = between(
        "b = BatchNormalization(a, s, p, q, s2)", more="float[16] s, float[16] p, float[16] q, float[16] s2"
    )
    found = ir.to_proto(prune(in_memory(proto), SETTINGS).model)
    assert [(n.op_type, n.name, list(n.input), list(n.output)) for n in found.graph.node] == [
        (n.op_type, n.name, list(n.input), list(n.output)) for n in proto.graph.node
    ]
    assert {t.name for t in found.graph.initializer} == {t.name for t in proto.graph.initializer}
    assert list(found.graph.input) == list(proto.graph.input)
    assert found.opset_import == proto.opset_import


@pytest.mark.parametrize("name", ["Reshape_1.input1", "masked.1", "masked.out.1", "Reshape_3.input1"])
def test_values_may_be_called_as_surgery_calls_its_own(name: str) -> None:
    proto = between(
        "r = Reshape(a, to)  n = Neg(r)  c = Reshape(n, back)  e = ReduceMean(c, one)  b = Sub(c, e)",
        more="int64[3] to = {3,16,36}, int64[4] back = {3,16,6,6}, int64[1] one = {1}",
    )
    for node in proto.graph.node:
        node.input[:] = [name if x == "n" else x for x in node.input]
        node.output[:] = [name if x == "n" else x for x in node.output]
    assert prune(in_memory(proto), SETTINGS).report.proof is not None


def test_the_source_in_memory_is_left_alone() -> None:
    source = in_memory(between("b = Relu(a)"))
    before = ir.to_proto(source).SerializeToString(deterministic=True)
    prune(source, SETTINGS)
    assert ir.to_proto(source).SerializeToString(deterministic=True) == before


def test_annotations_follow() -> None:
    proto = onnx.shape_inference.infer_shapes(between("b = Relu(a)"))
    found = ir.to_proto(prune(in_memory(proto), SETTINGS).model)
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in found.graph.value_info}
    assert sizes["a"] == sizes["b"] == [3, 8, 6, 6]
    assert sizes["z"] == [3, 4, 6, 6]


def test_annotations_of_the_exporters_example_are_forgotten() -> None:
    """Exporters note sizes of their example where they lose a symbol; beside sizes that hold, nothing would load."""
    proto = model(
        """(float[n,t,8] x) => (float[n,t,2] y) <float[8,16] w, float[16,1] s, float[16,2] v> {
            a = MatMul(x, w)  b = MatMul(a, s)  c = Mul(a, b)  y = MatMul(c, v) }"""
    )
    noted = {"a": 16, "b": 1, "c": 16}
    for name, width in noted.items():
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, 1, ["n", 12, width]))
    result = prune(in_memory(proto), SETTINGS)
    assert result.report.proof is not None
    found = ir.to_proto(result.model)
    sizes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in found.graph.value_info}
    assert {name: sizes[name] for name in noted} == {"a": ["n", 0, 8], "b": ["n", 12, 1], "c": ["n", 0, 8]}


def test_half_and_double_precision_stay() -> None:
    for name in ("float16", "double"):
        proto = model(
            f"""({name}[3,5,8] x) => ({name} y) <{name}[8,16] w, {name}[16,6] v> {{ a = MatMul(x, w)  b = Relu(a)
                  y = MatMul(b, v) }}"""
        )
        found = prune(in_memory(proto), SETTINGS).model
        assert weight(found, "w").dtype == weight(proto, "w").dtype
        assert weight(found, "w").shape == (8, 8)


def test_weights_that_are_inputs_too_lose_their_input() -> None:
    """Up to IR 3 every weight was an input; from 4 on it is a default, which nobody can override once it shrank."""
    for version in (3, 10):
        proto = between("b = Relu(a)", opset=11)
        proto.ir_version = version
        tensors = {t.name: t for t in proto.graph.initializer}
        for name in ("w", "v") if version > 3 else tensors:
            proto.graph.input.append(onnx.helper.make_tensor_value_info(name, 1, list(tensors[name].dims)))
        found = prune(in_memory(proto), SETTINGS)
        assert [v.name for v in found.model.graph.inputs] == ["x"]
        assert weight(found.model, "w").shape == (8, 4, 3, 3)
