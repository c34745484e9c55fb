"""Sizes that are tried: consistent ones, far ones, and none that needs gigabytes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from compressor.errors import ModelError
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.feeds import feeds
from compressor.graph.sizes.probes import VALUE_BUDGET
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.sizes import infer
from tests.models import in_memory, model

VOLUME = """(float[N,1,D,H,W] x) => (float y) <float[16,1,3,3,3] w, float[2,16,1,1,1] v> {
    a = Conv<pads=[1,1,1,1,1,1]>(x, w)  b = Relu(a)  y = Conv(b, v) }"""

CACHE = """(int64[B,T] ids, float[B,MASK] mask, float[B,2,P,4] past) => (float y, float present)
    <float[20,8] table, float[8,8] q, float[8,8] k, int64[4] heads = {0,-1,2,4}, int64[2] lead = {1,2}> {
    x = Gather(table, ids)
    a = MatMul(x, q)  b = Reshape(a, heads)  c = Transpose<perm=[0,2,1,3]>(b)
    d = MatMul(x, k)  e = Reshape(d, heads)  f = Transpose<perm=[0,2,1,3]>(e)
    present = Concat<axis=2>(past, f)  g = Transpose<perm=[0,1,3,2]>(present)
    s = MatMul(c, g)  m = Unsqueeze(mask, lead)  z = Add(s, m)  p = Softmax(z)  y = MatMul(p, present) }"""


def bound(text: str, **given: object) -> tuple[onnx.ModelProto, ir.Model, Shapes]:
    proto = model(text)
    source = normalise(in_memory(proto))
    return proto, source, infer(source, **given)  # type: ignore[arg-type]


def rename(proto: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto:
    for value in proto.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == old:
                dim.dim_param = new
    return proto


def runs(proto: onnx.ModelProto, source: ir.Model, shapes: Shapes) -> None:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for sizes in (shapes.inputs, shapes.other_inputs, shapes.far_inputs):
        assert sizes is not None
        session.run(None, feeds(source, sizes, shapes, 0))


@pytest.mark.parametrize("name", ["P + T", "T + P", "total_sequence_length"])
def test_a_mask_is_as_long_as_past_and_sequence(name: str) -> None:
    """By its name, or because it is added to scores of that length."""
    proto = rename(model(CACHE), "MASK", name)
    source = normalise(in_memory(proto))
    shapes = infer(source)
    for sizes in (shapes.inputs, shapes.other_inputs, shapes.far_inputs):
        assert sizes is not None
        assert sizes["mask"][1] == sizes["ids"][1] + sizes["past"][2]
    assert shapes.far_inputs is not None
    assert shapes.far_inputs["past"][2] == 0  # the first step of a decoder
    assert max(shapes.inputs["past"]) < 96  # a cache is no image
    runs(proto, source, shapes)


def test_a_length_that_the_user_gives_goes_into_the_sum() -> None:
    proto = rename(model(CACHE), "MASK", "P + T")
    source = normalise(in_memory(proto))
    assert infer(source, dims={"T": 5}).inputs["mask"][1] == 5 + infer(source, dims={"T": 5}).inputs["past"][2]
    shapes = infer(source, dims={"P + T": 20})
    assert shapes.inputs["mask"][1] == 20 == shapes.inputs["ids"][1] + shapes.inputs["past"][2]
    shapes = infer(source, shapes={"past": (2, 2, 9, 4)}, dims={"T": 4})
    assert shapes.inputs["mask"] == (2, 13)


def test_a_mask_that_is_indexed_is_as_long_as_its_indices() -> None:
    proto, source, shapes = bound(
        """(float[B,T,4] x, float[B,P,4] past, float[M] mask) => (float y)
        <int64[1] one = {1}, int64 z = {0}, int64 step = {1}> {
        c = Concat<axis=1>(past, x)  s = Shape(c)  n = Gather(s, one)  q = Squeeze(n)  r = Range(z, q, step)
        y = Gather(mask, r) }"""
    )
    assert shapes.inputs["mask"][0] == shapes.inputs["x"][1] + shapes.inputs["past"][1]
    runs(proto, source, shapes)


def test_a_mask_that_takes_the_batch_of_another_input_has_that_batch() -> None:
    """GPT-2 as torch.export writes it: mask [A, M] viewed as [B, -1], then read up to past and sequence."""
    _, source, shapes = bound(
        """(float[B,T,4] x, float[B,P,4] past, float[A,M] mask) => (float y)
        <int64[1] one = {1}, int64[1] rest = {-1}, int64 z = {0}, int64 step = {1}> {
        b = Shape<start=0,end=1>(x)  v = Concat<axis=0>(b, rest)  m = Reshape(mask, v)
        c = Concat<axis=1>(past, x)  s = Shape(c)  n = Gather(s, one)  q = Squeeze(n)  r = Range(z, q, step)
        y = Gather<axis=1>(m, r) }"""
    )
    for sizes in (shapes.inputs, shapes.other_inputs):
        assert sizes["mask"] == (sizes["x"][0], sizes["x"][1] + sizes["past"][1])
    viewed = next(node for node in source.graph if node.op_type == "Reshape").outputs[0]
    assert shapes(viewed) == shapes.inputs["mask"]


def test_a_volume_stays_within_budget() -> None:
    _, _, shapes = bound(VOLUME)
    for sizes in (shapes.inputs, shapes.other_inputs):
        assert 16 * np.prod(sizes["x"]) <= VALUE_BUDGET
        assert len({*sizes["x"][2:]}) > 1


def test_what_has_no_smaller_size_is_taken_as_it_is() -> None:
    _, _, shapes = bound("(float[N,4,4096,4096] x) => (float y) { y = Relu(x) }")
    assert shapes.inputs["x"] == (1, 4, 4096, 4096)
    assert shapes.far_inputs is None


def test_a_negative_size_is_open() -> None:
    proto = model("(float[N,4] x) => (float y) <float[4,6] w, float[6,3] v> { a = MatMul(x, w)  y = MatMul(a, v) }")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    source = normalise(in_memory(proto))
    shapes = infer(source)
    assert shapes.inputs["x"][0] != shapes.other_inputs["x"][0]
    assert shapes.dynamic(source.graph.outputs[0]) == [True, False]
    dim = source.graph.inputs[0].shape
    assert dim is not None
    assert isinstance(dim[0], ir.SymbolicDim)


def test_dimensions_without_a_name_are_different_ones() -> None:
    proto = model("(float[Q,4] x, float[Q,4] z) => (float y) { y = Relu(x) }")
    for value in proto.graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = "?"
    shapes = infer(normalise(in_memory(proto)))
    assert shapes.inputs["x"][0] == shapes.inputs["z"][0]  # both the batch
    assert len(shapes.declared["x"][0].text + shapes.declared["z"][0].text) > 2  # type: ignore[union-attr]
    assert shapes.declared["x"][0] != shapes.declared["z"][0]


@pytest.mark.parametrize("channels", [2**33, 2**40])
def test_a_value_of_too_many_elements_is_refused_at_once(channels: int) -> None:
    text = f"""(float[1,4,2,2] x) => (float y) <float[4,4,1,1] w, int64[8] pads = {{0,0,0,0,0,{channels},0,0}}> {{
        a = Conv(x, w)  b = Pad(a, pads)  y = GlobalAveragePool(b) }}"""
    with pytest.raises(ModelError, match="'Pad_1'" if channels == 2**33 else "larger"):
        bound(text)


def test_the_second_sizes_leave_counted_positions_in_their_table() -> None:
    proto = model(
        """(int64[N,T] ids, float[N,P,8] past) => (float y)
        <float[50,8] words, float[40,8] places, int64[1] one = {1}, int64 zero = {0}, int64 step = {1}> {
            w = Gather(words, ids)  joined = Concat<axis=1>(past, w)  s = Shape(joined)  n = Gather(s, one)
            total = Squeeze(n)  r = Range(zero, total, step)  e = Gather(places, r)  y = Add(joined, e) }"""
    )
    found = infer(normalise(in_memory(proto)))
    for sizes in (found.inputs, found.other_inputs):
        assert sizes["ids"][1] + sizes["past"][1] <= 40
    assert found.inputs != found.other_inputs
    assert found.far_inputs is None, "200 tokens are more than 40"


def test_a_large_size_that_is_fixed_leaves_another_batch() -> None:
    """Where no size is within budget, the second may take a few times the first: one size proves nothing of others."""
    text = "(float[n,3,768,768] x) => (float[n,32,768,768] y) <float[32,3,1,1] w> { y = Conv(x, w) }"
    found = infer(in_memory(model(text)))
    assert found.inputs != found.other_inputs
    assert found.chosen


def test_a_kernel_longer_than_the_sizes_that_are_tried_first() -> None:
    """Signals: thirteen samples are none for a kernel of eighty and two strides of four."""
    proto, source, shapes = bound(
        """(float[N,1,T] x) => (float y) <float[8,1,80] w, float[8,8,9] v> {
        a = Conv<strides=[4]>(x, w)  b = MaxPool<kernel_shape=[4],strides=[4]>(a)  c = Conv(b, v)
        y = GlobalAveragePool(c) }"""
    )
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for sizes in (shapes.inputs, shapes.other_inputs):
        assert sizes["x"][2] >= 80
        session.run(None, feeds(source, sizes, shapes, 0))
    assert shapes.inputs != shapes.other_inputs
