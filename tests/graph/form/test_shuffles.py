"""Shuffles of channels, written as one Gather."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.graph.form.clean import remove_unused
from compressor.graph.form.normalise import normalise
from compressor.graph.form.shuffles import write_shuffles_as_gathers
from compressor.operators.sizes import infer
from compressor.runtime.stored import run_once
from tests.models import in_memory, model

SPLIT = "int64[5] split = {0,3,4,5,-1}, int64[4] join = {0,12,5,-1}"


@pytest.mark.parametrize(
    ("needs", "body", "order"),
    [
        (SPLIT, "r = Reshape(x, split)  t = Transpose<perm=[0,2,1,3,4]>(r)  y = Reshape(t, join)",
         np.arange(12).reshape(3, 4).T.ravel()),
        # What is inside other reshapes, and in three parts of which two change places.
        ("int64[3] flat = {0,12,-1}, int64[5] split = {0,2,3,2,-1}, int64[4] join = {0,12,5,-1}",
         "f = Reshape(x, flat)  r = Reshape(f, split)  t = Transpose<perm=[0,1,3,2,4]>(r)  g = Reshape(t, flat)"
         "  y = Reshape(g, join)", np.arange(12).reshape(2, 3, 2).transpose(0, 2, 1).ravel()),
        # Two axes change places, and a result that has another shape.
        ("int64[4] swap = {0,12,5,-1}", "t = Transpose<perm=[0,1,3,2]>(x)  y = Reshape(t, swap)", None),
        ("int64[5] split = {0,3,4,5,-1}, int64[4] join = {0,4,15,-1}",
         "r = Reshape(x, split)  t = Transpose<perm=[0,2,1,3,4]>(r)  y = Reshape(t, join)", None),
        # Rows of the batch change places, whose number is open.
        ("int64[5] split = {2,-1,12,5,2}, int64[4] join = {-1,12,5,2}",
         "r = Reshape(x, split)  t = Transpose<perm=[1,0,2,3,4]>(r)  y = Reshape(t, join)", None),
    ],
)  # fmt: skip
def test_what_only_moves_entries_along_one_axis_is_a_gather(needs: str, body: str, order: np.ndarray | None) -> None:
    source = normalise(in_memory(model(f"(float[N,12,5,W] x) => (float y) <{needs}> {{ {body} }}")))
    feeds = [{"x": np.random.default_rng(0).standard_normal((4, 12, 5, 2)).astype(np.float32)}]
    before = run_once(source, feeds, "cpu").outputs[0]
    assert write_shuffles_as_gathers(source, infer(source)) == (order is not None)
    remove_unused(source)
    np.testing.assert_array_equal(run_once(source, feeds, "cpu").outputs[0][0], before[0])
    if order is not None:
        assert "Transpose" not in {node.op_type for node in source.graph}
        (node,) = (node for node in source.graph if node.op_type == "Gather")
        assert node.attributes.get_int("axis") == 1
        np.testing.assert_array_equal(source.graph.initializers[str(node.inputs[1].name)].const_value.numpy(), order)


UNEQUAL = """(float[N,4,6,6] x) => (float[N,2,6,6] y)
    <float[12,4,1,1] w, float[4,4,1,1] s, float[16,6,1,1] u, float[16,4,1,1] r, float[16,1,1,1] d, float[12,8,1,1] e,
     float[2,16,1,1] v, int64[5] split = {0,4,4,6,6}, int64[4] join = {0,16,6,6}> {
    a = Conv(x, w)  q = Relu(a)  g = Conv<group=2>(q, u)  h = Relu(g)
    c = Reshape(h, split)  t = Transpose<perm=[0,2,1,3,4]>(c)  p = Reshape(t, join)
    k = Conv<group=16>(p, d)  l = Conv<group=4>(k, r)  z = Add(l, h)
    m = Conv<group=2>(z, e)  o = Conv(x, s)  j = Concat<axis=1>(o, m)
    y = Conv(j, v) }"""
"""Convolutions of two and of four groups, a shuffle by four between them, and a sum of its two ends."""


def test_channels_go_through_shuffles_between_unequal_groups() -> None:
    """Units of the sum stand in rows of both convolutions, once in the order before the shuffle and once behind it."""
    found = prune(in_memory(model(UNEQUAL)), PruneSettings(ratio=0.5, round_to=1, recover="none"))
    assert {r.group: len(r.indices) for r in found.plan.removals} == {"w": 6, "s": 2, "u": 8, "e": 6}
