"""Picks that are written as more than they are."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.graph.form.clean import simplify
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from compressor.runtime.stored import run_once
from tests.models import in_memory, model
from tests.operators.case import check, whole

VIEW = """(float[N,6,1,1] x) => (float y)
    <int64 zero = {0}, int64 one = {1}, int64 six = {6}, int64 five = {5}, int64[1] flat = {-1}, int64[1] first = {0},
     int64[3] inner = {1,2,3}, int64[1,6,1,1] channels = {0,1,2,3,4,5}, int64[1,6,1,1] turned = {1,0,2,3,4,5},
     int64[1,1,1,1] off = {0}, int64[2,6,1,1] many = {0,1,2,3,4,5,6,7,8,9,10,11}> {
    v = Reshape(x, flat)  s = Shape<end=1>(x)  n = Squeeze(s, first)
    BODY }"""
COUNT = "r = Range(zero, n, one)  m = Mul(r, six)  u = Unsqueeze(m, inner)"


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (f"{COUNT}  p = Add(u, channels)  i = Add(p, off)  y = Gather(v, i)", True),
        (f"{COUNT}  i = Add(channels, u)  y = Gather(v, i)", True),
        (f"{COUNT}  i = Add(u, turned)  y = Gather(v, i)", False),  # two channels change places
        (f"{COUNT}  y = Gather(v, u)", False),  # the first channel alone
        ("r = Range(zero, n, one)  m = Mul(r, five)  u = Unsqueeze(m, inner)  i = Add(u, channels)  y = Gather(v, i)",
         False),  # rows overlap
        ("k = Sub(n, one)  r = Range(zero, k, one)  m = Mul(r, six)  u = Unsqueeze(m, inner)  i = Add(u, channels)"
         "  y = Gather(v, i)", False),  # the last row is left out
        ("r = Range(zero, n, one)  u = Unsqueeze(r, inner)  i = Add(u, channels)  y = Gather(v, i)", False),
        ("y = Gather(v, many)", False),  # all of it where N is 2, and part of it otherwise
    ],
)  # fmt: skip
def test_a_view_of_all_that_lies_in_memory(body: str, plain: bool) -> None:
    source = normalise(in_memory(model(VIEW.replace("BODY", body))))
    x = np.random.default_rng(0).standard_normal((3, 6, 1, 1)).astype(np.float32)
    before = run_once(source, [{"x": x}], "cpu").outputs[0][0]
    simplify(source, infer(source))
    np.testing.assert_array_equal(run_once(source, [{"x": x}], "cpu").outputs[0][0], before)
    assert ("Gather" not in {node.op_type for node in source.graph}) == plain


def test_channels_go_through_such_a_view() -> None:
    case = whole("a strided view", """(float[N,8,4,4] x) => (float[N,5] y) <float[6,8,1,1] w, float[6,5] v,
        int64 zero = {0}, int64 one = {1}, int64 six = {6}, int64[1] flat = {-1}, int64[1] first = {0},
        int64[3] inner = {1,2,3}, int64[1,6,1,1] channels = {0,1,2,3,4,5}> {
            a = Conv(x, w)  b = GlobalAveragePool(a)  t = Reshape(b, flat)  s = Shape<end=1>(x)  n = Squeeze(s, first)
            r = Range(zero, n, one)  m = Mul(r, six)  u = Unsqueeze(m, inner)  i = Add(u, channels)  g = Gather(t, i)
            f = Flatten(g)  y = MatMul(f, v) }""", {"w": 3})  # fmt: skip
    check(case)
