"""The notation of signatures: what is read of it, and what names and sizes axes of a node get."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from compressor.channels.coupling import Unexplained
from compressor.operators.signature import Call, NamedAxes, Signature, Window, expand, name_axes, slide, solve_sizes

CONV = "n (g i) [*s], (g o) i [*k], (g o)? -> n (g o) [*p]"


def call(*inputs: tuple[int, ...] | None, output: tuple[int, ...] | None = None, **attributes: int | list[int]) -> Call:
    values = [None if shape is None else ir.Value(name=f"x{k}") for k, shape in enumerate(inputs)]
    node = ir.node("Conv", values, attributes=attributes, name="node")
    node.outputs[0].name = "y"
    return Call(node, inputs, (output,))


def test_notation() -> None:
    parsed = Signature.parse(CONV)
    assert parsed.optional == (False, False, True)
    assert [[i.names for i in operand] for operand in parsed.operands] == [
        [("n",), ("g", "i"), ("s",)],
        [("g", "o"), ("i",), ("k",)],
        [("g", "o")],
    ]
    assert [(i.names, i.star, i.fixed) for i in parsed.outputs[0]] == [
        (("n",), False, set()),
        (("g", "o"), False, set()),
        (("p",), True, {"p"}),
    ]


def test_a_part_of_an_axis_is_fixed() -> None:
    (item,) = Signature.parse("([q] h) -> h").operands[0]
    assert (item.names, item.fixed) == (("q", "h"), {"q"})


def test_further_operands_are_like_the_last() -> None:
    parsed = Signature.parse("*a, ... -> *a")
    assert parsed.operand(7) == parsed.operand(0)
    assert Signature.parse("*a -> *a").operand(1) is None


def test_stars_align_at_the_right() -> None:
    operands, outputs = expand(Signature.parse("*b m k, *b k n -> *b m n"), [4, 3], [4])
    assert operands[0] == (("b0",), ("b1",), ("m",), ("k",))
    assert operands[1] == (("b1",), ("k",), ("n",))
    assert outputs[0] == (("b0",), ("b1",), ("m",), ("n",))


@pytest.mark.parametrize("ranks", [[1, 2], [3, 2]])
def test_another_number_of_axes_is_declined(ranks: list[int]) -> None:
    with pytest.raises(Unexplained, match=r"input 0 has \d axes"):
        expand(Signature.parse("m k, k n -> m n"), ranks, [2])


def sizes(text: str, of: Call, **given: int) -> dict[str, int]:
    named = name_axes(text, of)
    solve_sizes(named, [((name,), size) for name, size in given.items()])
    return named.sizes


def test_sizes_follow_from_axes() -> None:
    found = sizes(CONV, call((3, 8, 6, 6), (12, 2, 3, 3), output=(3, 12, 4, 4)))
    assert {n: found[n] for n in "ngio"} == {"n": 3, "g": 4, "i": 2, "o": 3}


def test_an_attribute_tells_what_axes_do_not() -> None:
    found = sizes("n (g c), (g c) -> n (g c)", call((3, 8), (8,), output=(3, 8)), g=2)
    assert (found["g"], found["c"]) == (2, 4)


def test_an_axis_of_one_is_broadcast() -> None:
    named = name_axes("*a, ... -> *a", call((3, 1, 5), (4, 5), output=(3, 4, 5)))
    solve_sizes(named, [])
    assert named.operands == {0: (("a0",), (), ("a2",)), 1: (("a1",), ("a2",))}
    assert named.sizes == {"a0": 3, "a1": 4, "a2": 5}


def test_brackets_fix_every_axis_of_a_star() -> None:
    named = name_axes(CONV, call((3, 8, 6, 6), (12, 8, 3, 3), output=(3, 12, 4, 4)))
    assert named.fixed == {"s0", "s1", "k0", "k1", "p0", "p1"}


def test_a_missing_input_is_declined_unless_it_may_be_missing() -> None:
    with pytest.raises(Unexplained, match="input 1 is missing"):
        name_axes(CONV, call((3, 8, 6, 6), None, output=(3, 12, 4, 4)))
    named = name_axes(CONV, call((3, 8, 6, 6), (12, 8, 3, 3), None, output=(3, 12, 4, 4)))
    assert 2 not in named.operands


def slid(window: Window, kernel: tuple[int, int], output: tuple[int, int], **attributes: list[int]) -> NamedAxes:
    of = call((3, 8, 6, 6), (12, 8, *kernel), output=(3, 12, *output), **attributes)
    named = name_axes(CONV, of)
    slide(named, window, of)
    return named


def test_a_window_of_one_position_is_pointwise() -> None:
    named = slid(Window("s", "k", "p"), (3, 1), (4, 6))
    assert named.outputs[0] == (("n",), ("g", "o"), ("p0",), ("s1",))
    assert {"s0", "p0"} <= named.fixed
    assert "s1" not in named.fixed


def test_a_stride_or_moved_points_make_it_no_longer_pointwise() -> None:
    assert "s1" in slid(Window("s", "k", "p"), (3, 1), (4, 3), strides=[1, 2]).fixed
    assert "s1" in slid(Window("s", "k", "p", moved=True), (3, 1), (4, 6)).fixed
