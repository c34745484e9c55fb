"""What a graph does with its inputs."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.operators.input_use import InputUse, constant_table, table_size, use_of
from compressor.operators.sizes import infer
from tests.models import in_memory, model


def uses(text: str, opset: int = 22) -> dict[str, InputUse]:
    network = in_memory(model(text, opset=opset))
    shapes = infer(network)
    return {str(v.name): use_of(v, shapes) for v in network.graph.inputs}


def test_the_smallest_table_bounds_an_index() -> None:
    text = """(int64[N,L] i) => (float y) <float[11,4] a, float[7,4] b, int64 one = {1}> {
        e = Gather(a, i) j = Add(i, one) f = Gather(b, j) y = Add(e, f) }"""
    network = in_memory(model(text))
    assert table_size(network.graph.inputs[0], infer(network)) == 7
    assert uses("(int64[N,L] i) => (float y) { y = Cast<to=1>(i) }")["i"].table is None


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("y = Gather(a, i)", 11),
        ("y = Gather<axis=1>(a, i)", 4),
        ("j = Cast<to=6>(i) k = Transpose(j) y = Gather(a, k)", 11),
        ("t = Constant<value = float[2] {1, 2}>() y = Gather(t, i)", 2),
        ("j = Add(i, one) y = Gather(a, j)", None),  # other numbers
        ("j = Slice(i, one, two) y = Gather(a, j)", None),  # some of them
        ("t = Relu(a) y = Gather(t, i)", None),  # a computed table, whose rows only a run tells
    ],
)
def test_numbers_that_all_pick_from_a_stored_table_are_bounded_by_it(body: str, rows: int | None) -> None:
    text = "(int64[N,L] i) => (float y) <float[11,4] a, int64[1] one = {1}, int64[1] two = {2}>"
    found = constant_table(in_memory(model(f"{text} {{ {body} }}")).graph.inputs[0])
    assert (found and found.rows) == rows


def test_a_branch_may_not_run_and_bounds_nothing() -> None:
    text = """(int64[N,L] i, bool c) => (float y) <float[11,4] a> {
        y = If (c) <then_branch = g () => (float z) { z = Gather(a, i) },
                    else_branch = h () => (float z) { z = Cast<to=1>(i) }> }"""
    assert constant_table(in_memory(model(text)).graph.inputs[0]) is None
    two = "(int64[N,L] i) => (float y, float z) <float[11,4] a, float[7,4] b> { y = Gather(a, i) z = Gather(b, i) }"
    found = constant_table(in_memory(model(two)).graph.inputs[0])
    assert found is not None
    assert found.rows == 7


@pytest.mark.parametrize(
    ("text", "window", "axis"),
    [
        ("(float[N,3,8] x) => (float y) <float[4,3,3] w> { y = Conv(x, w) }", 1, 1),
        ("(float[N,3,8,8] x) => (float y) <float[4,3,3,3] w, float[1] s> { m = Mul(x, s) y = Conv(m, w) }", 2, 1),
        (
            "(float[N,8,8,3] x) => (float y) <float[4,3,3,3] w> { t = Transpose<perm=[0,3,1,2]>(x) y = Conv(t, w) }",
            2,
            3,
        ),
        ("(float[N,3,8,8,8] x) => (float y) <float[3,4,3,3,3] w> { y = ConvTranspose(x, w) }", 3, 1),
        (
            "(float[N,64] x) => (float y) <float[4,1,3,3] w, int64[4] s={-1,1,8,8}> { r = Reshape(x,s) y = Conv(r,w) }",
            2,
            None,
        ),
        ("(float[N,3,8,8] x) => (float y) <float[4,3,3,3] w> { r = Relu(x) y = Conv(r, w) }", None, None),
        ("(float[N,3,8,8] x) => (float y) <float[8,4] w> { y = MatMul(x, w) }", None, None),
        (
            "(float[N,3,8,8] x, float[N,18,4,8] o) => (float y) <float[4,3,3,3] w> {"
            " a, b = Split<axis=2,num_outputs=2>(x) y = DeformConv<pads=[1,1,1,1]>(b, w, o) }",
            2,
            1,
        ),
    ],
)
def test_convolutions_tell_their_axes(text: str, window: int | None, axis: int | None) -> None:
    found = uses(text)["x"]
    assert (found.window, found.channel_axis) == (window, axis)


def test_the_input_of_a_branch_is_no_weight() -> None:
    text = "(float[4,3,3,3] w, float[N,3,8,8] x) => (float y) { y = Conv(x, w) }"
    assert uses(text)["w"].window is None


def test_an_index_is_followed_through_all_that_moves_it() -> None:
    text = """(int64[N,8] i) => (float y) <float[9,4] t, int64 low = {0}, int64 high = {8}> {
        a, b = Split<axis=1,num_outputs=2>(i) c = Transpose(b) d = Clip(c, low, high) y = Gather(t, d) }"""
    assert uses(text)["i"].table == 9


def test_products_joins_states_and_sums() -> None:
    found = uses("""(float[N,4] x, float[N,4] k, float[1,N,5] h, float[N,4] m) => (float y, float z)
        <float[4,4] w, float[1,15,4] a, float[1,15,5] b, int64[1] zero = {0}> {
        p = MatMul(x, w) j = Concat<axis=0>(k, p) s = Add(p, m)
        u = Unsqueeze(p, zero) z, last = GRU<hidden_size=5>(u, a, b, , , h) y = Concat<axis=0>(j, s) }""")
    assert found["x"] == InputUse(product=True)
    assert found["k"] == InputUse(joined=True)
    assert found["h"] == InputUse(state=True)
    assert found["m"] == InputUse(added=True)


def test_steps_that_normalise_the_input_come_to_one_shift_and_one_scale() -> None:
    found = uses("""(float[N,3,8,8] x) => (float y)
        <float[1,3,1,1] m = {1,2,3}, float[1,3,1,1] d = {4,5,6}, float two = {2}, float[4,3,3,3] w> {
        f = Mul(x, two) c = Sub(f, m) n = Div(c, d) y = Conv(n, w) }""")["x"]
    assert found.shift is not None
    assert found.scale is not None
    np.testing.assert_allclose(found.shift.ravel(), [0.5, 1, 1.5])
    np.testing.assert_allclose(found.scale.ravel(), [2, 2.5, 3])
    assert found.window == 2


def test_a_batch_norm_on_the_input_normalises_it() -> None:
    found = uses("""(float[N,2,8] x) => (float y)
        <float[2] g = {2,1}, float[2] b = {0,0}, float[2] m = {5,6}, float[2] v = {4,9}> {
        y = BatchNormalization<epsilon=0.0>(x, g, b, m, v) }""")["x"]
    assert found.shift is not None
    assert found.scale is not None
    np.testing.assert_allclose(found.shift.ravel(), [5, 6])
    np.testing.assert_allclose(found.scale.ravel(), [1, 3])


@pytest.mark.parametrize(
    "body",
    [
        "r = Relu(x) y = Sub(r, m)",  # not before anything else
        "y = Add(x, x)",
        "c = Sub(x, m) d = Mul(x, m) y = Mul(c, d)",  # two readers
    ],
)
def test_other_steps_do_not(body: str) -> None:
    found = uses(f"(float[N,3] x) => (float y) <float[3] m> {{ {body} }}")["x"]
    assert found.shift is None
    assert found.scale is None


IMAGES = "(float[N,3,8,8] a, float[N,1,8,8] b) => (float y) <float[4,4,3,3] w>"


@pytest.mark.parametrize(
    ("text", "name", "joined", "added"),
    [
        (f"{IMAGES} {{ c = Concat<axis=1>(a, b) y = Conv(c, w) }}", "a", False, False),
        ("(float[N,6] a) => (float y) <float[12,3] w> { c = Concat<axis=1>(a, a) y = MatMul(c, w) }", "a", 0, 0),
        ("(float[N,6] a) => (float y) <float[6,3] w> { r = Relu(a) c = Add(a, r) y = MatMul(c, w) }", "a", 0, 0),
        ("(float[N,6] m, float[N,6] s) => (float y) { r = Relu(s) c = Add(r, m) y = Softmax(c) }", "m", False, True),
        ("(float[N,2,6] p, float[N,1,6] x) => (float y) <float[6,6] w> { k = MatMul(x, w) y = Concat<axis=1>(p, k) }",
         "p", True, False),
    ],
)  # fmt: skip
def test_only_beside_what_is_computed_from_another_input_is_it_a_cache_or_a_mask(
    text: str, name: str, joined: bool, added: bool
) -> None:
    use = uses(text)[name]
    assert (use.joined, use.added) == (joined, added)


def test_axes_follow_broadcasting_to_a_higher_rank() -> None:
    text = "(float[3,8,12] x) => (float y) <float[1,3,1,1] m, float[4,3,3,3] w> { s = Sub(x, m) y = Conv(s, w) }"
    assert uses(text)["x"].channel_axis == 0


def test_a_norm_of_a_vector_has_one_channel() -> None:
    weights = "<float[1] s, float[1] b, float[1] m, float[1] v>"
    text = f"(float[8] x) => (float y) {weights} {{ y = BatchNormalization(x, s, b, m, v) }}"
    assert uses(text)["x"].shift is not None


@pytest.mark.parametrize(("opset", "node"), [(12, "Unsqueeze<axes=[0]>(x)"), (21, "Unsqueeze(x, first)")])
def test_fresh_axes_are_read_in_every_operator_set(opset: int, node: str) -> None:
    text = f"(float[3,8,12] x) => (float y) <int64[1] first = {{0}}, float[4,3,3,3] w> {{ s = {node} y = Conv(s, w) }}"
    assert uses(text, opset=opset)["x"].channel_axis == 0


def test_fresh_axes_are_read_in_bodies() -> None:
    body = "s = Unsqueeze(x, first) z = Conv(s, w)"
    text = f"""(float[3,8,12] x, bool c) => (float y) <int64[1] first = {{0}}, float[4,3,3,3] w> {{
        y = If(c) <then_branch = t () => (float z) {{ {body} }}, else_branch = e () => (float z) {{ {body} }}>
    }}"""
    assert uses(text)["x"].channel_axis == 0
