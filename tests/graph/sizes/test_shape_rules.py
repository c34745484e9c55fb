"""Rules for symbolic sizes against the same rules with numbers put in, and those against numpy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import ModelError
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.dims import Dim, Size, substitute, symbol
from compressor.graph.sizes.shape_rules import SHAPE_RULES, TO_THE_END, DimShape, Operands, broadcast
from compressor.operators.indexing import slice_range
from compressor.operators.sizes import infer
from tests.models import in_memory, model

N, T = symbol("N"), symbol("T")
SIZES = st.integers(1, 12)


def ran(op: str, shapes: Sequence[DimShape], *data: Sequence[Dim], **attributes: int | list[int]) -> list[DimShape]:
    """What the rule of an operator says; ``data`` belongs to the inputs behind ``shapes``."""
    names = count()
    inputs = [ir.Value(name=f"x{k}") for k in range(len(shapes) + len(data))]
    node = ir.node(op, inputs, attributes, num_outputs=1)
    lists = [np.asarray(list(d), object if any(isinstance(e, Size) for e in d) else np.int64) for d in data]
    of = Operands(
        node,
        [*shapes, *((len(d),) for d in data)],
        [*[None] * len(shapes), *lists],
        lambda: symbol(f"fresh{next(names)}"),
        lambda: symbol(f"unknown{next(names)}"),
        lambda one, two: None,
    )
    found = SHAPE_RULES[op](of)
    assert found is not None
    return [tuple(shape) for shape in found if shape is not None]


def bound(shape: DimShape, n: int, t: int) -> tuple[Dim, ...]:
    return tuple(substitute(size, {"N": n, "T": t}) for size in shape)


CASES = {
    "Reshape": lambda n, t: ran("Reshape", [(n, t, 6)], [0, -1, 3]),
    "Reshape to a size": lambda n, t: ran("Reshape", [(n, t, 6)], [n, t * 6]),
    "Flatten": lambda n, t: ran("Flatten", [(n, t, 4)], axis=2),
    "Concat": lambda n, t: ran("Concat", [(2, n), (2, t), (2, 3)], axis=-1),
    "MatMul": lambda n, t: ran("MatMul", [(n, 1, t, 4), (5, 4, t)]),
    "Tile": lambda n, t: ran("Tile", [(n, 2)], [t, 3]),
    "Range": lambda n, t: ran("Range", [], [0], [n + t], [2]),
    "Slice": lambda n, t: ran("Slice", [(n, t)], [1, 0], [TO_THE_END, -2]),
    "Slice with steps": lambda n, t: ran("Slice", [(n, t)], [-7, 0], [TO_THE_END, TO_THE_END], [0, 1], [2, 3]),
    "Slice backwards": lambda n, t: ran("Slice", [(n, t)], [-1, 4], [-TO_THE_END, -3], [0, 1], [-1, -2]),
    "Slice up to a size": lambda n, t: ran("Slice", [(n,)], [0], [t]),
    "Pad": lambda n, t: ran("Pad", [(n, t)], [0, 2, 1, -1]),
    "Split": lambda n, t: ran("Split", [(t, n * 1)], axis=1),
    "Conv": lambda n, t: ran("Conv", [(n, 3, t, 9), (8, 3, 3, 3)], strides=[2, 2], pads=[1, 1, 1, 1]),
    "Conv of the same size": lambda n, t: ran("MaxPool", [(n, 3, t)], kernel_shape=[3], strides=[2], pads=[1, 1]),
    "Add": lambda n, t: ran("Add", [(n, 1, t), (4, 1)]),
    "Expand": lambda n, t: ran("Expand", [(n, 1)], [1, t]),
}


@pytest.mark.parametrize("name", CASES)
@given(SIZES, SIZES)
def test_numbers_may_be_put_in_before_or_after(name: str, n: int, t: int) -> None:
    assert [bound(shape, n, t) for shape in CASES[name](N, T)] == CASES[name](n, t)


@given(st.lists(st.lists(st.sampled_from([1, 5]), max_size=4), min_size=1, max_size=3))
def test_broadcasting_is_numpys(shapes: list[list[int]]) -> None:
    made = broadcast([tuple(shape) for shape in shapes], lambda one, two: None)
    assert made == np.broadcast_shapes(*map(tuple, shapes))


@given(st.integers(0, 6), st.integers(-8, 8), st.integers(-8, 8), st.sampled_from([-3, -2, -1, 1, 2, 3]))
def test_a_slice_takes_as_many_as_the_operator_says(size: int, start: int, end: int, step: int) -> None:
    taken = slice_range(size, start, end, step)
    assert ran("Slice", [(size,)], [start], [end], [0], [step]) == [(len(taken),)]


def test_a_reversed_axis_is_as_long_as_it_was() -> None:
    assert ran("Slice", [(N, T)], [-1], [-TO_THE_END], [1], [-1]) == [(N, T)]


@given(SIZES, st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2))
def test_a_window_is_counted(size: int, kernel: int, step: int, pad: int, hole: int) -> None:
    starts = range(-pad, size + pad - hole * (kernel - 1), step)
    if not starts:
        return
    asked = {"kernel_shape": [kernel], "strides": [step], "pads": [pad, pad], "dilations": [hole]}
    assert ran("MaxPool", [(2, 3, size)], **asked) == [(2, 3, len(starts))]


def test_a_size_beyond_all_numbers_is_a_sentence() -> None:
    """A damaged factor of a Resize: the size that follows fits into no integer of a file."""
    proto = model(
        """(float[N,2,4,4] x) => (float y) <float[4] scales = {1, 1, 3e38, 1}, float[2,2,1,1] w> {
        a = Resize<mode="nearest">(x, , scales)  y = ConvTranspose(a, w) }"""
    )
    with pytest.raises(ModelError, match="larger than any this tool believes"):
        infer(normalise(in_memory(proto)))
