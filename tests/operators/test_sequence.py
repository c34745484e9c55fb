"""Sequences: what is split, collected and joined again loses channels like any tensor."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.channels.groups import blocked
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from tests.models import in_memory, model
from tests.oracle import couple

from .case import Case, check, whole

HEAD = "z = MatMul(b, v)  y = MatMul(z, head)"
WEIGHTS = "float[8,16] w, float[16,6] v, float[6,2] head"
SETTINGS = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": "none"})

SEQUENCES = SETTINGS.model_copy(update={"simplify": False})


def text(body: str, more: str = "") -> str:
    """``b`` from ``a``, float[N,6,16]; between two products."""
    return f"(float[N,6,8] x) => (float[n,t,c] y) <{WEIGHTS}{more}> {{ a = MatMul(x, w)  {body}  {HEAD} }}"


LOOP = """n = SequenceLength(s)  o = SequenceEmpty()
    r = Loop(n, , o) <body = one (int64 i, bool g, seq(float) t) => (bool h, seq(float) k) {
        h = Identity(g)  e = SequenceAt(s, i)  f = MatMul(e, u)  k = SequenceInsert(t, f) }>
    b = ConcatFromSequence<axis=1>(r)"""
FORMS = {
    "split into ones": ("s = SplitToSequence<axis=1>(a)  b = ConcatFromSequence<axis=1>(s)", "", {"w": 8, "v": 3}),
    "split into pairs": ("s = SplitToSequence<axis=1>(a, two)  b = ConcatFromSequence<axis=1>(s)", ", int64 two = {2}",
                         {"w": 8, "v": 3}),
    "split unevenly": ("s = SplitToSequence<axis=1>(a, parts)  b = ConcatFromSequence<axis=1>(s)",
                       ", int64[2] parts = {4,2}", {"w": 8, "v": 3}),
    "split without the axis": ("s = SplitToSequence<axis=1,keepdims=0>(a)"
                               "  b = ConcatFromSequence<axis=1,new_axis=1>(s)",
                               "", {"w": 8, "v": 3}),
    "along the channels": ("s = SplitToSequence<axis=2>(a)  b = ConcatFromSequence<axis=2>(s)", "", {"v": 3}),
    "made of two": ("c = Relu(a)  s = SequenceConstruct(a, c)  b = SequenceAt(s, one)", ", int64 one = {1}",
                    {"w": 8, "v": 3}),
    "one put in, one taken out": ("c = MatMul(a, u)  s = SequenceConstruct(a)  r = SequenceInsert(s, c)"
                                  "  q = SequenceErase(r, zero)  b = SequenceAt(q, zero)",
                                  ", float[16,16] u, int64 zero = {0}", {"w": 8, "v": 3}),
    "handed on": ("s = SequenceConstruct(a, a)  r = Identity(s)  b = SequenceAt(r, zero)", ", int64 zero = {0}",
                  {"w": 8, "v": 3}),
    "in a loop": ("s = SplitToSequence<axis=1>(a)" + LOOP, ", float[16,16] u", {"w": 8, "u": 8, "v": 3}),
}  # fmt: skip


AS_THEY_ARE = {"simplify": False}
"""Otherwise sequences of known elements are written as these (graph/form/plain_sequences.py)."""
CASES = tuple(
    whole(f"Sequence {name}{how}", text(body, more), removed, settings=settings)
    for name, (body, more, removed) in FORMS.items()
    for how, settings in (("", {}), (", as it is", AS_THEY_ARE))
)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_channels_run_through_sequences(case: Case) -> None:
    check(case)


def test_all_of_it_is_proved() -> None:
    proof = prune(in_memory(model(text(*FORMS["in a loop"][:2]))), SETTINGS).report.proof
    assert proof is not None
    assert not proof.not_proved


def test_something_else_among_the_elements() -> None:
    body = "c = Concat<axis=2>(x, x)  s = SequenceConstruct(a, c)  b = SequenceAt(s, one)"
    _, coupling = couple(in_memory(model(text(body, ", int64 one = {1}"))), SEQUENCES)
    reasons = {row.label: row.reason.reason for row in blocked(coupling)}
    assert "has nothing to remove there" in reasons["w:1"]


def test_elements_of_other_sizes() -> None:
    """Their common shape is open where they differ, and known where not."""
    source, coupling = couple(in_memory(model(text(*FORMS["split unevenly"][:2]))), SEQUENCES)
    value = next(v for node in source.graph for v in node.outputs if v.name == "s")
    assert coupling.shapes.sequence(value)
    assert coupling.shapes(value) == (3, 4, 16)
    assert coupling.shapes.dynamic(value) == [True, True, False]


def test_a_sequence_that_stays_empty() -> None:
    body = "o = SequenceEmpty()  n = SequenceLength(o)  k = Cast<to=1>(n)  b = Add(a, k)"
    report = prune(in_memory(model(text(body))), SETTINGS).report
    assert {row.name: row.removed for row in report.groups} == {"w": 8, "v": 3}
    assert np.isfinite(report.proof.max_rel_err if report.proof else np.nan)
