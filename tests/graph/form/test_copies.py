"""Copies that readers would make by broadcasting: left out where all do, made where one does not."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.graph.form.clean import simplify
from compressor.graph.form.copies import make_copies_apart
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from compressor.runtime.stored import run_once
from tests.models import in_memory, model

MASK = """(float[B,1,T] x, float[B,4,T] s, float[B,4,T] u) => (float y)
    <int64[1] one = {1}, int64[1] four = {4}, float low = {-9.0}, int64[3] fixed = {1,4,1}> {
    n = Shape(x)  b = Shape<end=1>(x)  t = Shape<start=2>(x)  to = Concat<axis=0>(b, four, t)
    BODY }"""
"""Scores [B, 4, T] of four heads, and a mask of one."""


Sizes = dict[str, list[str]]


def simplified(body: str) -> tuple[Sizes, Sizes, float]:
    """Shapes by value as they are noted after it and as they are inferred anew, and how far results have moved."""
    source = normalise(in_memory(model(MASK.replace("BODY", body))))
    shapes = infer(source)
    rng = np.random.default_rng(0)
    feeds = {
        str(v.name): rng.standard_normal(shapes.inputs[str(v.name)]).astype(np.float32) for v in source.graph.inputs
    }
    before = run_once(source, [feeds], "cpu").outputs[0]
    simplify(source, shapes)
    after = run_once(source, [feeds], "cpu").outputs[0]
    found = [
        {str(v.name): [str(d) for d in known.dims(v) or ()] for node in source.graph for v in node.outputs}
        for known in (shapes, infer(source))
    ]
    return found[0], found[1], float(np.abs(before[0] - after[0]).max())


@pytest.mark.parametrize(
    ("body", "narrow"),
    [
        ("e = Expand(x, to)  y = Add(e, s)", ["e"]),
        ("e = Expand(x, fixed)  y = Add(e, s)", ["e"]),
        ("z = ConstantOfShape(to)  y = Mul(z, s)", ["z"]),
        # Both make the copies, and what they meet in makes them once more for two readers.
        ("e = Expand(x, to)  p = Greater(e, low)  z = ConstantOfShape(to)  w = Where(p, z, low)"
         "  a = Add(w, s)  c = Mul(w, u)  y = Sub(a, c)", ["e", "p", "z", "w"]),
        # A mask and what is made of it meet again: neither has the size for the other.
        ("e = Expand(x, to)  i = Neg(e)  h = Cast<to=9>(i)  w = Where(h, low, i)  y = Add(w, s)", ["e", "i", "h", "w"]),
        ("e = Expand(x, to)  q = Neg(e)  m = Max(e, q)  y = Add(m, s)", ["e", "q", "m"]),
        ("e = Expand(x, to)  q = Neg(e)  a = Add(e, s)  c = Mul(q, a)  y = Max(c, q)", ["e", "q"]),
    ],
)  # fmt: skip
def test_copies_that_readers_make_are_left_out(body: str, narrow: list[str]) -> None:
    noted, inferred, error = simplified(body)
    assert error == 0.0
    for name in narrow:
        assert noted[name] == inferred[name]
        assert noted[name][1] == "1"


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("r = Tile(x, fixed)  y = Concat<axis=1>(r, s)", {"Expand"}),
        ("b1 = Concat<axis=0>(one, four, one)  r = Tile(x, b1)  y = Concat<axis=1>(r, s)", {"Expand"}),
        ("r = Tile(s, fixed)  y = Concat<axis=1>(r, s)", {"Tile"}),  # four heads, repeated
        ("k = Concat<axis=0>(b, four, one)  r = Tile(x, k)  y = Concat<axis=2>(r, r)", {"Tile"}),  # B * B samples
        ("i = Slice(s, four, four, one)  z = Tile(i, fixed)  y = Neg(z)", {"Tile"}),  # nothing, repeated
    ],
)  # fmt: skip
def test_repeats_along_axes_of_one_are_expanded(body: str, left: set[str]) -> None:
    source = normalise(in_memory(model(MASK.replace("BODY", body))))
    shapes = infer(source)
    feeds = {str(v.name): np.ones(shapes.inputs[str(v.name)], np.float32) for v in source.graph.inputs}
    before = run_once(source, [feeds], "cpu").outputs[0][0]
    simplify(source, shapes)
    np.testing.assert_array_equal(run_once(source, [feeds], "cpu").outputs[0][0], before)
    assert {node.op_type for node in source.graph} & {"Tile", "Expand"} == left


@pytest.mark.parametrize(
    "body",
    [
        "e = Expand(x, to)  y = Concat<axis=1>(e, s)",  # a reader that does not broadcast
        "e = Expand(x, to)  a = Add(e, s)  c = ReduceSum(e)  y = Mul(a, c)",  # one that does, and one that does not
        "e = Expand(x, to)  y = Sigmoid(e)",  # what the caller gets
        "e = Expand(x, to)  m = Mul(e, x)  r = ReduceSum<keepdims=0>(m)  y = Add(r, s)",  # nobody else has the size
        "e = Expand(x, to)  q = Neg(e)  y = Max(e, q)",  # what has the size was made of the copies
        "e = Expand(x, to)  q = Neg(e)  m = Max(e, q)  y = ReduceSum(m)",
        "e = Expand(x, to)  i = Neg(e)  h = Cast<to=9>(i)  w = Where(h, low, i)  y = ReduceSum(w)",
        "e = Expand(x, to)  q = Neg(e)  a = Add(e, s)  m = Mul(q, e)  r = ReduceSum(m)  y = Mul(a, r)",
    ],
)
def test_copies_that_somebody_needs_are_made(body: str) -> None:
    noted, _, error = simplified(body)
    assert noted["e"][1] == "4"
    assert error == 0.0


def test_each_reader_gets_copies_of_its_own() -> None:
    """But not along axes that only the caller chooses, which hold no channels."""
    source = normalise(in_memory(model(MASK.replace("BODY",
        "e = Expand(x, to)  a = Concat<axis=1>(e, s)  c = Concat<axis=1>(e, u)  wide = Concat<axis=0>(b, one, t)"
        "  f = Expand(s, wide)  d = Concat<axis=1>(f, a)  g = Concat<axis=1>(f, c)  y = Add(d, g)"))))  # fmt: skip
    make_copies_apart(source, infer(source))
    read = {str(n.outputs[0].name): n.inputs[0] for n in source.graph if n.op_type == "Concat" and len(n.inputs) == 2}
    assert read["a"] is not read["c"]
    assert read["d"] is read["g"]
