"""Stages run as few nodes as they can, as late as they may, and hand on what later ones ask for."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.reconstruct.stages import ArrayCache, stages
from tests.models import in_memory, model

CHAIN = """(float[2,4] x) => (float[2,4] y) <float[4,4] v, float[4,4] w> {
    a = Relu(x)  b = MatMul(a, v)  c = Neg(b)  d = MatMul(c, w)  y = Add(d, a) }"""
SEQUENCE = """(float[2,4] x) => (float[2,4] y) {
    a = Relu(x)  s = SequenceConstruct(a, x)  i = Constant<value_int=0>()  b = SequenceAt(s, i)  c = Neg(b)
    j = Constant<value_int=1>()  d = SequenceAt(s, j)  y = Add(c, d) }"""


def test_each_stage_runs_what_no_earlier_one_did() -> None:
    first, second = stages(in_memory(model(CHAIN)).graph, [{"b"}, {"y"}])
    assert (first.inputs, first.asked) == (("x",), ("b",))
    assert first.outputs == ("a", "b"), "Add reads a later on"
    assert second.inputs == ("a", "b")
    assert second.done == ("a", "b", "c", "d", "y"), "nobody asks for them any more"


def test_what_is_asked_for_and_never_made_is_an_input() -> None:
    [only] = stages(in_memory(model(CHAIN)).graph, [{"x"}])
    assert (only.inputs, only.outputs, only.asked) == ((), (), ("x",))


def test_sequences_are_made_again_where_they_are_read() -> None:
    first, second = stages(in_memory(model(SEQUENCE)).graph, [{"c"}, {"y"}])
    assert "s" not in first.outputs
    assert set(second.inputs) == {"a", "c", "x"}


def test_what_does_not_fit_lies_on_the_disk() -> None:
    cache = ArrayCache(limit=40)
    arrays = [np.full(4, k, np.float64) for k in range(3)]
    for k, array in enumerate(arrays):
        cache.put((0, k, "x"), array)
    for k, array in enumerate(arrays):
        np.testing.assert_array_equal(cache.get((0, k, "x")), array)
    cache.drop((0, 0, "x"))
    cache.put((0, 3, "x"), arrays[0])
    assert [(0, k, "x") in cache._held for k in range(4)] == [False, False, False, True], "its place is free again"
    cache.close()
    with pytest.raises(FileNotFoundError):
        cache.get((0, 1, "x"))
