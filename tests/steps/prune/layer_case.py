"""A net of convolutions, and runs that change its layers."""

from __future__ import annotations

from typing import Any

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from tests.models import in_memory, model

NET = """
(float[N,3,8,8] x) => (float[N,10] y)
<float[16,3,3,3] w, float[16] b, float[16,16,3,3] v, float[16,16,3,3] u, float[16,10] m, float[10] c> {
    a = Conv<pads=[1,1,1,1]>(x, w, b)
    d = Relu(a)
    e = Conv<pads=[1,1,1,1]>(d, v)
    f = Relu(e)
    g = Conv<pads=[1,1,1,1],strides=[2,2]>(f, u)
    h = Relu(g)
    i = GlobalAveragePool(h)
    j = Flatten(i)
    y = Gemm(j, m, c)
}
"""


def settings_of(**values: Any) -> PruneSettings:
    return PruneSettings.parse({"structure": "lowrank", "samples": 64, **values})


def masked(structure: str, data: str, **values: Any) -> Any:
    settings = {"structure": structure, "target_macs": 0.7, "data": data, "recover": "lstsq", **values}
    return prune(in_memory(model(NET)), settings_of(**settings))
