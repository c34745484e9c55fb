"""Whole-number inputs stay so small that every index they reach is within its table."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.feeds import FEW_VALUES, feeds
from compressor.graph.sizes.ranges import _COMPUTED, Interval
from compressor.operators.sizes import infer
from tests.models import in_memory, model

TABLES = "float[30,4] table, float[20,4] small, int64[3] offsets = {0,10,20}, int64 two = {2}, int64[1] zero = {0}"
CASES = {
    "as they are": ("int64[N,3] a", "y = Gather(table, a)", {"a": 29}),
    "offsets are added": ("int64[N,3] a", "g = Add(a, offsets)  y = Gather(table, g)", {"a": 9}),
    "a mask is multiplied": (
        "int64[N,3] a, int64[N,3] mask", "g = Mul(a, mask)  y = Gather(small, g)", {"a": 19, "mask": 1},
    ),
    "masks and types": (
        "int64[N,3] a, int64[N,3] mask, int64[N,3] kind",
        "g = Mul(a, mask)  h = Add(g, kind)  y = Gather(small, h)", {"a": 18, "mask": 1, "kind": 1},
    ),
    "two tables": (
        "int64[N,3] a", "p = Gather(table, a)  q = Gather(small, a)  y = Add(p, q)", {"a": 19},
    ),
    "cast and moved": (
        "int32[N,3] a", "c = Cast<to=7>(a)  t = Transpose(c)  u = Unsqueeze(t, zero)  y = Gather(small, u)", {"a": 19},
    ),
    "chosen by a flag": (
        "int64[N,3] a, bool[N,3] flag", "w = Where(flag, a, offsets)  y = Gather(table, w)", {"a": 29},
    ),
    "a remainder has no say": ("int64[N,3] a", "m = Mod(a, two)  y = Gather(small, m)", {}),
    "the largest of all samples": ("int64[N,3] a", "m = ReduceMax(a, zero)  y = Gather(small, m)", {"a": 19}),
    "the least of all samples": ("int64[N,3] a", "m = ReduceMin(a, zero)  y = Gather(small, m)", {"a": 19}),
    "no table": ("int64[N,3] a", "c = Cast<to=1>(a)  y = Relu(c)", {"a": FEW_VALUES - 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_largest_number_and_a_run(name: str) -> None:
    inputs, body, expected = CASES[name]
    proto = model(f"({inputs}) => (float y) <{TABLES}> {{ {body} }}")
    source = normalise(in_memory(proto))
    shapes = infer(source)
    largest = shapes.largest(shapes.inputs, FEW_VALUES - 1)
    assert {key: largest[key] for key in expected} == expected
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for seed in range(5):
        made = feeds(source, shapes.other_inputs, shapes, seed)
        assert all(array.max() <= largest[key] for key, array in made.items() if array.dtype.kind == "i")
        session.run(None, made)


def test_positions_are_counted_within_the_table() -> None:
    """An index that is computed from a size limits nothing that could be fed, and is left alone."""
    proto = model(
        """(float[N,T,4] x, int64[N,T] a) => (float y) <float[50,4] table, int64[1] one = {1}, int64 z = {0},
        int64 step = {1}> { s = Shape(x)  t = Gather(s, one)  q = Squeeze(t)  r = Range(z, q, step)
        p = Gather(table, r)  g = Add(a, r)  e = Gather(table, g)  h = Add(x, p)  y = Add(h, e) }"""
    )
    source = normalise(in_memory(proto))
    shapes = infer(source)
    length = shapes.inputs["x"][1]
    assert shapes.largest(shapes.inputs, 1)["a"] == 50 - length
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    session.run(None, feeds(source, shapes.inputs, shapes, 0))


def test_columns_of_indices_are_told_apart() -> None:
    """GatherND: the first column picks from 3 rows, the second from 30."""
    grid = onnx.numpy_helper.from_array(np.array([[0, 29], [2, 7]]), "grid")
    text = "(int64[N,2] a) => (float y) <float[3,30] table> { g = Add(a, grid)  y = GatherND(table, g) }"
    proto = model(text, checked=False)
    proto.graph.initializer.append(grid)
    source = normalise(in_memory(proto))
    shapes = infer(source)
    assert shapes.largest(shapes.inputs, 1)["a"] == 0


def test_zeros_where_nothing_else_is_safe() -> None:
    source = normalise(in_memory(model(f"(int64[N,3] a) => (float y) <{TABLES}> {{ y = Gather(table, a) }}")))
    shapes = infer(source)
    assert not feeds(source, shapes.inputs, shapes, 0, zeros=True)["a"].any()
    assert feeds(source, shapes.inputs, shapes, 0)["a"].any()


def test_rows_of_a_flattened_table_are_as_long_as_what_picks_from_them() -> None:
    """An index of a whole row and a place in it: the row, of ``S`` entries, holds places up to ``P + L``."""
    proto = model(
        """(int64[B,S] mask, float[B,P,4] past, float[B,L,4] x) => (float y)
        <int64[1] one = {1}, int64[1] first = {0}, int64 zero = {0}, int64 step = {1}, int64[1] all = {-1}> {
            joined = Concat<axis=1>(past, x)  s = Shape(joined)  n = Gather(s, one)  total = Squeeze(n)
            places = Range(zero, total, step)  m = Shape(mask)  rows = Gather(m, first)  count = Squeeze(rows)
            row = Range(zero, count, step)  width = Gather(m, one)  start = Mul(row, width)
            starts = Unsqueeze(start, one)  index = Add(starts, places)  flat = Reshape(mask, all)
            seen = Gather(flat, index)  f = Cast<to=1>(seen)  w = Unsqueeze(f, all)  y = Mul(joined, w) }"""
    )
    source = normalise(in_memory(proto))
    shapes = infer(source)
    for sizes in (shapes.inputs, shapes.other_inputs):
        assert sizes["mask"][1] == sizes["past"][1] + sizes["x"][1]
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    session.run(None, feeds(source, shapes.other_inputs, shapes, 0))


EVALUATED: dict[str, Callable[[int, int], set[int]]] = {
    "Add": lambda a, b: {a + b},
    "Max": lambda a, b: {max(a, b)},
    "Min": lambda a, b: {min(a, b)},
    "Mul": lambda a, b: {a * b},
    "Sub": lambda a, b: {a - b},
    "Where": lambda a, b: {a, b},
}
"""What two numbers may give."""
SMALL = [Interval(low, high) for low in range(-3, 4) for high in range(low, 4)]


@pytest.mark.parametrize("op", EVALUATED)
def test_bounds_are_those_of_all_numbers_between(op: str) -> None:
    told = 0
    for one, two in product(SMALL, SMALL):
        pairs = product(range(one.low, one.high + 1), range(two.low, two.high + 1))
        numbers = set[int]().union(*(EVALUATED[op](a, b) for a, b in pairs))
        found = _COMPUTED[op].join((one,), (two,))
        assert found is None or found == (Interval(min(numbers), max(numbers)),), (one, two)
        told += found is not None
    assert told == (len(SMALL) ** 2 if op != "Mul" else sum(i.low >= 0 for i in SMALL) ** 2)


def test_a_remainder_lies_below_its_divisor() -> None:
    for one, by in product(SMALL, SMALL):
        found = _COMPUTED["Mod"].join((one,), (by,))
        assert (found is None) == (by.low < 1)
        if found is not None:
            pairs = product(range(one.low, one.high + 1), range(by.low, by.high + 1))
            assert all(found[0].low <= a % b <= found[0].high for a, b in pairs)
            assert found == (Interval(0, by.high - 1),)
