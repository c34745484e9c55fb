"""Sizes that leave nothing of a value: taken where no others are, as a past that is empty on purpose; else never."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from compressor.data.synthetic.sizes import sample_shapes
from compressor.errors import ModelError
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.sizes import infer
from tests.graph.sizes.test_probes import CACHE, bound, rename
from tests.models import in_memory, model

POOLED = """(float[N,3,H,W] x) => (float y) <float[8,3,3,3] w, float[5,8,1,1] v,
    int64[2] from = {50,50}, int64[2] to = {-50,-50}, int64[2] sides = {2,3}, int64[2] two = {2,2},
    int64[1] late = {150}, int64[1] end = {9999}, int64[1] rows = {2}> {
    a = Conv<pads=[1,1,1,1]>(x, w)  b = Relu(a) %s  y = Conv(c, v) }"""
POOLS = [
    "d = MaxPool<kernel_shape=[7,7],strides=[7,7]>(b) e = MaxPool<kernel_shape=[5,5],strides=[5,5]>(d)"
    " c = MaxPool<kernel_shape=[3,3]>(e)",
    "d = AveragePool<kernel_shape=[16,16],strides=[16,16]>(b) c = AveragePool<kernel_shape=[8,8],strides=[8,8]>(d)",
    "c = Slice(b, from, to, sides)",
    "c = Slice(b, late, end, rows)",
    # A step, and windows that are rounded up, are no polynomials: such sizes are known at numbers alone.
    "c = Slice(b, from, to, sides, two)",
    "d = MaxPool<kernel_shape=[8,8],strides=[8,8],ceil_mode=1>(b) c = MaxPool<kernel_shape=[15,15]>(d)",
    "d = Slice(b, from, to, sides) c = GlobalAveragePool(d)",
]


def every(shapes: Shapes) -> list[dict[str, tuple[int, ...]]]:
    found = [shapes.inputs, shapes.other_inputs, shapes.far_inputs, shapes.near_inputs, shapes.unlike_inputs]
    return [sizes for sizes in found if sizes is not None]


def values(source: ir.Model, sizes: dict[str, tuple[int, ...]]) -> list[tuple[int, ...]]:
    at = infer(source, shapes=sizes)
    return [shape for node in source.graph for v in node.outputs if (shape := at(v)) is not None]


@pytest.mark.parametrize("body", POOLS)
def test_probes_leave_something_of_every_value(body: str) -> None:
    """ONNX Runtime divides by sizes and dies, and a layer shows nothing where it computes nothing."""
    _, source, shapes = bound(POOLED % body)
    assert not shapes.hollow
    assert shapes.inputs != shapes.other_inputs
    for sizes in every(shapes):
        assert all(0 not in shape for shape in values(source, sizes)), sizes


@pytest.mark.parametrize("body", POOLS[:4])
def test_sizes_behind_the_probes_leave_something_too(body: str) -> None:
    _, source, shapes = bound(POOLED % body)
    assert shapes.spare_inputs
    for sizes in shapes.spare_inputs:
        assert all(0 not in shape for shape in values(source, sizes)), sizes


def test_small_sizes_are_left_out_where_they_leave_nothing() -> None:
    assert bound(POOLED % "c = Relu(b)")[2].near_inputs == {"x": (1, 3, 64, 64)}
    assert bound(POOLED % POOLS[2])[2].near_inputs is None


def test_one_size_is_better_than_a_second_that_leaves_nothing() -> None:
    """Larger ones than the first are over budget."""
    _, _, shapes = bound(
        """(float[N,3,H,W] x) => (float y) <float[12,3,1,1] w, int64[1] late = {1000}, int64[1] end = {9999},
        int64[1] rows = {2}> { a = Conv(x, w)  y = Slice(a, late, end, rows) }"""
    )
    assert shapes.inputs == shapes.other_inputs == {"x": (1, 3, 1024, 1024)}


def test_sizes_that_make_too_large_a_value_leave_the_others_to_be_tried() -> None:
    _, _, shapes = bound(
        """(float[1,T] x) => (float y, float z) <int64[2] row = {1,-1}, int64[1] seven = {7}, int64[1] five = {5},
        int64[1] axis = {1}, int64[1] two = {2}> {
        a = Transpose(x)  b = MatMul(a, x)  c = Reshape(b, row)  d = Transpose(c)  e = MatMul(d, c)  f = Reshape(e, row)
        g = Transpose(f)  h = MatMul(g, f)  y = Reshape(h, row)  z = Slice(x, seven, five, axis, two) }"""
    )
    assert shapes.hollow
    assert shapes.inputs["x"][1] < 30


def test_what_is_empty_at_any_size_is_taken_as_it_is() -> None:
    _, source, shapes = bound(
        """(float[N,3,H,W] x) => (float y, float z) <float[8,3,3,3] w, float[0,2] nothing, int64[1] none = {0},
        int64[1] seven = {7}, int64[1] five = {5}, int64[1] rows = {2}> {
        y = Conv<pads=[1,1,1,1]>(x, w)  a = Slice(x, seven, five, rows)  b = ConstantOfShape(none)
        c = Identity(nothing)  z = Relu(a) }"""
    )
    assert shapes.inputs == {"x": (3, 3, 96, 160)}
    assert shapes.other_inputs == {"x": (2, 3, 160, 224)}
    assert shapes(source.graph.outputs[1]) == (3, 3, 0, 160)


def test_sizes_that_the_user_gives_are_taken_as_they_are() -> None:
    _, _, shapes = bound(POOLED % POOLS[2], dims={"H": 60, "W": 300})
    assert shapes.inputs == {"x": (3, 3, 60, 300)}
    assert shapes.hollow


def test_made_up_samples_keep_to_it() -> None:
    source = bound(POOLED % "d = Slice(b, from, to, sides) e = Slice(d, late, end, rows) c = Relu(e)")[1]
    assert infer(source, dims={"H": 224, "W": 224}).hollow
    assert not sample_shapes(source, None, None).hollow


JOINED = """(float[N,3,H,W] x, float[N,3,K,W] z) => (float y) <float[8,3,3,3] w, float[5,8,1,1] v> {
    a = Conv<pads=[1,1,1,1]>(x, w)  b = Conv<pads=[1,1,1,1]>(z, w)  c = Concat<axis=2>(a, b)  y = Conv(c, v) }"""
KEPT = {
    "H-3": lambda h, _: h - 3,
    "2*H-5": lambda h, _: 2 * h - 5,
    "H//2-4": lambda h, _: h // 2 - 4,
    "H%3-1": lambda h, _: h % 3 - 1,
    "H//1000": lambda h, _: h // 1000,
    "W-H": lambda h, w: w - h,
    "H+1": lambda h, _: h + 1,
}


def joined(name: str) -> tuple[onnx.ModelProto, ir.Model]:
    proto = rename(model(JOINED), "K", name)
    return proto, normalise(in_memory(proto))


@pytest.mark.parametrize("name", KEPT)
def test_a_name_that_is_an_expression_is_met_at_positive_sizes(name: str) -> None:
    shapes = infer(joined(name)[1])
    for sizes in every(shapes):
        assert min(min(shape) for shape in sizes.values()) > 0
        assert sizes["z"][2] == KEPT[name](*sizes["x"][2:])


@pytest.mark.parametrize(
    "name", ["H//0", "H%0", "H*99999999999999999999", "H-2*H", "H//(W-W)", "H-W", "H-3-W", "0*H-1", "H-100000"]
)
def test_a_name_that_no_sizes_meet_is_a_label(name: str) -> None:
    """So it is to a runtime."""
    source = joined(name)[1]
    shapes = infer(source)
    assert shapes.inputs != shapes.other_inputs
    for sizes in every(shapes):
        assert min(min(shape) for shape in sizes.values()) > 0
    assert infer(source, dims={name: 7}).inputs["z"][2] == 7


@pytest.mark.parametrize("name", ["N-1", "N-3", "N-5"])
def test_a_batch_less_a_number(name: str) -> None:
    proto = model("(float[N,4] x, float[M,4] z) => (float y) { a = Concat<axis=0>(x, z)  y = Relu(a) }")
    shapes = infer(normalise(in_memory(rename(proto, "M", name))))
    assert not shapes.hollow
    for sizes in every(shapes):
        assert min(min(shape) for shape in sizes.values()) > 0


def test_a_signal_less_some_samples_is_no_past() -> None:
    text = """(float[N,4,T] x, float[N,4,U] z) => (float y) <float[8,4,1] w> {
        a = Concat<axis=2>(x, z)  b = Relu(a)  y = Conv(b, w) }"""
    far = infer(normalise(in_memory(rename(model(text), "U", "T-3")))).far_inputs
    assert far == {"x": (11, 4, 200), "z": (11, 4, 197)}


def test_a_past_whose_heads_have_a_name_is_empty_once() -> None:
    text = CACHE.replace("float[B,2,P,4] past", "float[B,A,P,4] past")
    far = infer(normalise(in_memory(rename(model(text), "MASK", "P + T")))).far_inputs
    assert far is not None
    assert far["past"] == (11, 2, 0, 4)


@pytest.mark.parametrize(("old", "new"), [("T", "S - P"), ("P", "S - T"), ("S", "P + T")])
def test_pasts_that_are_differences_are_empty_once(old: str, new: str) -> None:
    shapes = infer(normalise(in_memory(rename(rename(model(CACHE), "MASK", "S"), old, new))))
    far = shapes.far_inputs
    assert far is not None
    assert far["mask"][1] == far["ids"][1] + far["past"][2]
    assert (far["past"][2] == 0) == (old != "P")  # a length of its own is what can be empty


def test_a_head_of_one_size_tells_the_sides_of_images() -> None:
    text = """(float[N,3,H,W] x) => (float y) <float[4,3,3,3] w, float[400,5] v> {
        a = Conv<pads=[1,1,1,1]%s>(x, w)  b = Flatten(a)  y = MatMul(b, v) }"""
    assert bound(text % "")[2].inputs == {"x": (3, 3, 10, 10)}
    assert bound(text % ",strides=[4,4]")[2].inputs == {"x": (3, 3, 40, 40)}


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ModelError, match=r"\(N of x, H of x, axis 3 of x\) needs a certain size.* --dim"):
        bound(
            """(float[N,3,H,?] x) => (float y) <float[4,3,3,3] w, float[401,5] v> {
            a = Conv<pads=[1,1,1,1]>(x, w)  b = Flatten(a)  y = MatMul(b, v) }"""
        )
