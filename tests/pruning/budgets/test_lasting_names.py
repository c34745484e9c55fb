"""Groups keep their names over the steps of a run, so that each loses its share and no more."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from tests.models import in_memory, model

EVERY_FOURTH = ", ".join(map(str, range(0, 48, 4)))
OTHERS = ", ".join(str(k) for k in range(48) if k % 4)
PICKED = f"""(float[n,3,8,8] x) => (float[n,4,h,w] y)
    <float[48,3,1,1] w, int64[12] some = {{{EVERY_FOURTH}}}, int64[36] rest = {{{OTHERS}}},
     float[4,12,1,1] u, float[4,36,1,1] v> {{
    a = Conv(x, w)  b = Gather<axis=1>(a, some)  c = Gather<axis=1>(a, rest)
    d = Conv(b, u)  e = Conv(c, v)  y = Add(d, e) }}"""
SPLIT = """(float[n,3,8,8] x) => (float[n,4,h,w] y)
    <float[32,3,1,1] w, int64[2] sizes = {8, 24}, float[4,8,1,1] u, float[4,24,1,1] v> {
    a = Conv(x, w)  b, c = Split<axis=1>(a, sizes)  d = Conv(b, u)  e = Conv(c, v)  y = Add(d, e) }"""


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("steps", [2, 3, 4])
@pytest.mark.parametrize("text", [PICKED, SPLIT], ids=["picked", "split"])
def test_steps_take_what_one_takes(text: str, steps: int, scope: str) -> None:
    asked = {"ratio": 0.5, "round_to": 1, "recover": "none", "scope": scope, "seed": 1}
    once, often = (
        {g.name: (g.channels, g.removed) for g in prune(in_memory(model(text)), settings).report.groups}
        for settings in (PruneSettings.parse(asked), PruneSettings.parse({**asked, "steps": steps}))
    )
    assert once.keys() == often.keys()
    for name, (channels, removed) in often.items():
        assert 0 <= removed < channels
        assert once[name][0] == channels
        if scope == "local":
            assert abs(removed - once[name][1]) <= 1
    assert sum(r for _, r in often.values()) == pytest.approx(sum(r for _, r in once.values()), abs=2)


NARROW = """(float[n,3] x) => (float[n,4] y) <float[3,8] w, float[8,4] v> {
    a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, v) }"""


@pytest.mark.parametrize("recover", ["none", "lstsq"])
@pytest.mark.parametrize("more", [{"ratio": 0.875, "round_to": 1}, {"lossless": True}])
def test_steps_after_which_nothing_is_left_to_go(recover: str, more: dict[str, object]) -> None:
    source = in_memory(model(NARROW))
    if "lossless" in more:
        tensor = source.graph.initializers["v"].const_value
        assert tensor is not None
        array = tensor.numpy().copy()
        array[1:] = 0
        source.graph.initializers["v"].const_value = ir.tensor(array, name="v")
    asked = {"steps": 8, "recover": "none" if "lossless" in more else recover, **more}
    (row,) = prune(source, PruneSettings.parse(asked)).report.groups
    assert (row.channels, row.removed) == (8, 7)
