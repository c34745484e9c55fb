"""Operators that lay positions beside others: what is left is joined and padded from what is left."""

from __future__ import annotations

import pytest

from compressor.channels.coupling import ELEMENT_LIMIT, Coupling, Policy
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from compressor.operators.table import RULES
from tests.models import in_memory, model

from .case import Case, check, image, token

CASES = (
    token("Concat with something empty", "o = Slice(a, wide, wide, last)  b = Concat<axis=2>(a, o)",
          more="int64[1] wide = {16}, int64[1] last = {2}", settings={"simplify": False}),
    image("Concat", "c = Conv(x, u)  b = Concat<axis=1>(a, c)", {"w": 8, "u": 2, "v": 4}, more="float[4,4,1,1] u",
          out=20),
    image("Concat with the input", "b = Concat<axis=-3>(x, a, x)", out=24),
    image("Concat of rows", "c = Conv(x, u)  b = Concat<axis=2>(a, c)", more="float[16,4,1,1] u"),
    image("Concat of rows with something whole", "b = Concat<axis=2>(a, p)", more="float[3,16,2,6] p"),
    image("Concat of rows with the input", "c = Concat<axis=1>(x, x, x, x)  b = Concat<axis=2>(a, c)", {"v": 4},
          frozen={"w": "nothing to remove"}),
    image("Concat twice", "b = Concat<axis=1>(a, a)", out=32),
    image("Pad of space", 'b = Pad<mode="reflect">(a, pads)', more="int64[8] pads = {0,0,1,1,0,0,1,2}"),
    image("CenterCropPad of space", "b = CenterCropPad<axes=[2,-1]>(a, size)", more="int64[2] size = {4,8}"),
    image("CenterCropPad of every axis", "b = CenterCropPad(a, size)", {"v": 4}, more="int64[4] size = {3,16,4,8}",
          frozen={"w": "works along this axis"}),
    image("Pad of channels", "b = Pad(a, pads)", {"w": 8, "v": 3, "v#2": 4}, more="int64[8] pads = {0,2,0,0,0,3,0,0}",
          out=21),
    image("Pad of channels by axes", "b = Pad(a, pads, value, axes)", {"w": 8, "v": 3, "v#2": 4}, opset=21,
          more="int64[2] pads = {2,3}, float value = {0.5}, int64[1] axes = {1}", out=21),
    image("Pad of channels 9", "b = Pad<pads=[0,2,0,0,0,3,0,0],value=0.25>(a)", {"w": 8, "v": 3, "v#2": 4}, opset=9,
          out=21),
    image("Pad of channels 11", "b = Pad(a, pads)", {"w": 8, "v": 3, "v#2": 4},
          more="int64[8] pads = {0,2,0,0,0,3,0,0}", opset=11, out=21),
    image("Pad that mirrors channels", 'b = Pad<mode="edge">(a, pads)', {"v": 4},
          more="int64[8] pads = {0,2,0,0,0,3,0,0}", out=21,
          frozen={"w": "Pad mirrors or crops it"}),
    image("Pad that crops", "b = Pad(a, pads)", {"v": 4}, more="int64[8] pads = {0,-2,0,0,0,0,0,0}", out=14,
          frozen={"w": "Pad mirrors or crops it"}),
    image("Pad in a shortcut", "c = Conv(x, u)  p = Pad(c, pads)  b = Add(a, p)", {"w": 6, "w#2": 2, "v": 4},
          more="float[12,4,1,1] u, int64[8] pads = {0,0,0,0,0,4,0,0}"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_joining(case: Case) -> None:
    check(case)


def test_a_pad_of_more_channels_than_labels_stays() -> None:
    """Refused by its size: no array of that many labels is made."""
    source = normalise(in_memory(model(f"""(float[1,4,1,1] x) => (float y)
        <float[4,4,1,1] w, int64[8] pads = {{0,0,0,0,0,{ELEMENT_LIMIT},0,0}}> {{
        a = Conv(x, w)  b = Pad(a, pads)  y = GlobalAveragePool(b) }}""")))  # fmt: skip
    coupling = Coupling(source.graph, infer(source), RULES, Policy()).run()
    assert [text for node, text in coupling.opaque.items() if node.op_type == "Pad"] == [
        f"Pad: it pads to [1, {ELEMENT_LIMIT + 4}, 1, 1], and labels of at most {ELEMENT_LIMIT} positions are made"
    ]
    assert len(coupling.units) < ELEMENT_LIMIT
