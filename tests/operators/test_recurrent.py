"""Recurrent layers: hidden units go from every gate, and as many from each direction."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models import weight

from .case import Case, check, whole

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(
    op: str, word: str = "", *, more: str = "", given: str = "", attributes: str = "", directions: int = 1
) -> Case:
    """A layer of 16 hidden units on ``a``, float[5,3,12]; a product reads its outputs. Rows of ``u`` are counted."""
    rows = 16 * GATES[op]
    direction = ', direction="bidirectional"' if directions == 2 else ""
    text = f"""(float[5,3,8] x) => (float y)
        <float[8,12] w, float[{directions},{rows},12] u, float[{directions},{rows},16] t,
         float[{16 * directions},6] v, int64[3] flat = {{0,0,-1}}{more}> {{
        m = MatMul(x, w)  a = Relu(m)  all, last = {op}<hidden_size=16{direction}{attributes}>(a, u, t{given})
        tr = Transpose<perm=[0,2,1,3]>(all)  f = Reshape(tr, flat)  y = MatMul(f, v) }}"""
    return whole(f"{op} {word}".strip(), text, {"w": 6, "u": 8 * GATES[op] * directions})


def bias(op: str, directions: int = 1) -> str:
    return f", float[{directions},{32 * GATES[op]}] p"


STATE = ", float[1,3,16] h0"
CASES = (
    *(layer(op) for op in GATES),
    *(layer(op, "with bias", more=bias(op), given=", p") for op in GATES),
    *(layer(op, "in both directions", more=bias(op, 2), given=", p", directions=2) for op in GATES),
    *(layer(op, "with a first state", more=STATE, given=", , , h0") for op in GATES),
    layer("LSTM", "with two states", more=STATE + ", float[1,3,16] c0", given=", , , h0, c0"),
    layer("LSTM", "with peepholes", more=bias("LSTM") + ", float[1,48] k", given=", p, , , , k"),
    layer("LSTM", "with lengths", more=", int32[3] lengths = {5,2,4}", given=", , lengths"),
    layer("GRU", "whose reset comes first", more=bias("GRU"), given=", p", attributes=", linear_before_reset=1"),
    whole("LSTM backwards", """(float[5,3,8] x) => (float y)
        <float[1,64,8] u, float[1,64,16] t, float[16,6] v, int64[1] one = {1}> {
        all = LSTM<hidden_size=16,direction="reverse">(x, u, t)  q = Squeeze(all, one)  y = MatMul(q, v) }""",
              {"u": 32}),
    whole("LSTM whose last states are read", """(float[5,3,8] x) => (float y)
        <float[1,64,8] u, float[1,64,16] t, float[16,6] v, int64[1] zero = {0}> {
        all, last, cell = LSTM<hidden_size=16>(x, u, t)  s = Add(last, cell)  q = Squeeze(s, zero)
              y = MatMul(q, v) }""", {"u": 32}),
    whole("LSTM on LSTM", """(float[5,3,8] x) => (float y)
        <float[1,64,8] u, float[1,64,16] t, float[1,48,16] u2, float[1,48,12] t2, float[12,6] v, int64[1] one = {1}> {
        all = LSTM<hidden_size=16>(x, u, t)  q = Squeeze(all, one)
        al2 = LSTM<hidden_size=12>(q, u2, t2)  r = Squeeze(al2, one)  y = MatMul(r, v) }""", {"u": 32, "u2": 24}),
    whole("GRU in a residual", """(float[5,3,8] x) => (float y)
        <float[8,16] w, float[1,48,16] u, float[1,48,16] t, float[16,6] v, int64[1] one = {1}> {
        a = MatMul(x, w)  all = GRU<hidden_size=16>(a, u, t)  q = Squeeze(all, one)  b = Add(a, q)
              y = MatMul(b, v) }""",
        {"w": 8}),
    whole("LSTM whose hidden units are an output", """(float[5,3,8] x) => (float y)
        <float[8,12] w, float[1,64,12] u, float[1,64,16] t> {
        a = MatMul(x, w)  y = LSTM<hidden_size=16>(a, u, t) }""", {"w": 6}, frozen={"u": "is an output of the model"}),
    whole("LSTM with a computed weight", """(float[5,3,8] x) => (float y)
        <float[8,12] w, float[12,10] e, float[1,64,10] u, float[1,64,16] t, float[16,6] v, int64[1] one = {1},
              int64[1] zero = {0}> {
        a = MatMul(x, w)  b = MatMul(a, e)  m = ReduceMax(x)  k = Mul(u, m)  all = LSTM<hidden_size=16>(b, k, t)
        q = Squeeze(all, one)  y = MatMul(q, v) }""", {"w": 6}, frozen={"e": "its weights are not constants"}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_recurrent(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("op", GATES)
def test_every_gate_loses_the_same_units(op: str) -> None:
    case = next(c for c in CASES if c.name == f"{op} in both directions")
    before = weight(case.build(), "t").reshape(2, GATES[op], 16, 16)
    found = case.prune().model
    after = weight(found, "t").reshape(2, GATES[op], 8, 8)
    for direction in range(2):
        kept = [
            u
            for u in range(16)
            if any(np.isin(after[direction, 0, k], before[direction, 0, u]).all() for k in range(8))
        ]
        assert len(kept) == 8
        expected = before[direction][:, kept][:, :, kept]
        np.testing.assert_array_equal(after[direction], expected)
