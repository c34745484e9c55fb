"""Sequences of known elements, written as the elements."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.graph.form.normalise import normalise
from compressor.graph.form.plain_sequences import write_plain_sequences
from compressor.operators.sizes import infer
from compressor.runtime.stored import run_once
from tests.models import in_memory, model

X = "(float[n,6,4] x, int64 k) => (float[p,q,r] y)"
CONSTANTS = "int64[2] two = {4,2}, int64 each = {2}, int64 zero = {0}, int64 last = {-1}, int64 far = {7}"
PLAIN = {
    "sizes": "s = SplitToSequence<axis=1>(x, two)  t = SequenceAt(s, last)  y = Relu(t)",
    "one size": "s = SplitToSequence<axis=1>(x, each)  t = SequenceAt(s, last)  u = SequenceAt(s, zero)  y = Sub(t, u)",
    "single entries": "s = SplitToSequence<axis=1>(x)  t = SequenceAt(s, last)  y = Relu(t)",
    "single entries without their axis": """s = SplitToSequence<axis=-2,keepdims=0>(x)  t = SequenceAt(s, last)
        u = SequenceAt(s, zero)  v = Sub(t, u)  q = SequenceConstruct(v, t, u)
        w = ConcatFromSequence<axis=1,new_axis=1>(q)  y = Relu(w)""",
    "joined again": "s = SplitToSequence<axis=1>(x, two)  t = ConcatFromSequence<axis=1>(s)  y = Relu(t)",
    "counted": """s = SplitToSequence<axis=1>(x, two)  t = SequenceAt(s, last)  n = SequenceLength(s)
        f = Cast<to=1>(n)  u = Mul(t, f)  y = Relu(u)""",
    "put together": "a = Relu(x)  s = SequenceConstruct(a, x)  t = SequenceAt(s, zero)  y = Neg(t)",
}
LEFT = {
    "a place that the caller chooses": "s = SplitToSequence<axis=1>(x, two)  t = SequenceAt(s, k)  y = Relu(t)",
    "an axis that the caller chooses": "s = SplitToSequence<axis=0>(x, each)  t = SequenceAt(s, zero)  y = Relu(t)",
    "a place that is not there": "s = SplitToSequence<axis=1>(x, two)  t = SequenceAt(s, far)  y = Relu(t)",
}


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("name", PLAIN)
def test_elements_stand_for_the_sequence(name: str, opset: int) -> None:
    text = f"{X} <{CONSTANTS}> {{ {PLAIN[name]} }}"
    read = normalise(in_memory(model(text, opset=opset, checked=False)))
    feeds = [{"x": np.random.default_rng(0).standard_normal((3, 6, 4), np.float32), "k": np.asarray(1)}]
    before = run_once(read, feeds, "cpu").outputs[0][0]
    assert write_plain_sequences(read, infer(read))
    assert not any("Sequence" in node.op_type for node in read.graph)
    np.testing.assert_array_equal(run_once(read, feeds, "cpu").outputs[0][0], before)
    assert not write_plain_sequences(read, infer(read))


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_known_stays_a_sequence(name: str) -> None:
    read = normalise(in_memory(model(f"{X} <{CONSTANTS}> {{ {LEFT[name]} }}", checked=False)))
    assert not write_plain_sequences(read, infer(read))


def test_channels_go_through_pieces() -> None:
    text = """(float[n,3,8,8] x) => (float[n,4,h,w] y)
        <float[16,3,3,3] w, int64 half = {8}, int64 zero = {0}, int64 one = {1}, float[4,8,1,1] v> {
        a = Conv(x, w)  s = SplitToSequence<axis=1>(a, half)  t = SequenceAt(s, zero)  u = SequenceAt(s, one)
        g = Sigmoid(u)  m = Mul(t, g)  y = Conv(m, v) }"""
    report = prune(in_memory(model(text)), PruneSettings(ratio=0.5, round_to=1, recover="none")).report
    assert [(group.channels, group.removed) for group in report.groups] == [(16, 8)]
    assert report.proof is not None
    assert not report.proof.not_proved
