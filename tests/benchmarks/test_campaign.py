"""The oracle of the campaign sees what is wrong with a file; its graphs run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.models import model

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import campaign
from campaign_graphs import random_graph

TEXT = """(float[N,6] x) => (float y) <float[6,{0}] w, float[{0}] b, float[{0},3] v> {{
    m = MatMul(x, w)  a = Add(m, b)  y = MatMul(a, v) }}"""


def pair(kept: list[int], readers: list[int] | None = None) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Eight features, and what is left of them; ``readers`` are the rows of ``v`` that are left, if others."""
    whole, small = model(TEXT.format(8)), model(TEXT.format(len(kept)))
    weights = campaign.tensors(whole)
    parts = {"w": weights["w"][:, kept], "b": weights["b"][kept], "v": weights["v"][readers or kept]}
    for tensor in small.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(parts[tensor.name]), tensor.name))
    return whole, small


@pytest.mark.parametrize(
    ("kept", "readers", "verdict"),
    [
        ([0, 2, 3, 7], None, "right"),
        ([2, 0, 3, 7], None, "w is in another order"),
        ([0, 2, 3, 7], [1, 2, 3, 7], "output 0 is off"),
    ],
)
def test_the_oracle_sees_it(kept: list[int], readers: list[int] | None, verdict: str) -> None:
    found = campaign.verdict(*pair(kept, readers), {}, exact=True)
    assert found.startswith(verdict)
    assert (found == "right") == (verdict == "right")


def test_other_values_are_seen() -> None:
    whole, small = pair([0, 2, 3, 7])
    for tensor in small.graph.initializer:
        if tensor.name == "b":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, "b"))
    assert campaign.verdict(whole, small, {}, exact=True) == "b has other values"
    assert campaign.verdict(whole, small, {"lossless": True}, exact=True).startswith("output 0 is off")
    assert campaign.verdict(whole, small, {"recover": "bias"}, exact=True) == "right shapes", "a fit changes weights"


@pytest.mark.parametrize("seed", range(3))
def test_graphs_run_at_every_size(seed: int) -> None:
    proto, _ = random_graph(seed)
    for sizes in campaign.SIZES:
        assert all(np.isfinite(a).all() for a in campaign.run(proto, sizes))
