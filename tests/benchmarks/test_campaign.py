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

from campaign_graphs import random_graph
from campaign_oracle import SIZES, Verdict, left_channels, run, tensors, verdict

TEXT = """(float[N,6] x) => (float y) <float[6,{0}] w, float[{0}] b, float[{0},3] v> {{
    m = MatMul(x, w)  a = Add(m, b)  y = MatMul(a, v) }}"""


def pair(
    kept: list[int], readers: list[int] | None = None, text: str = TEXT
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Eight features, and what is left of them; ``readers`` are the rows of ``v`` that are left, if others."""
    whole, small = model(text.format(8)), model(text.format(len(kept)))
    weights = tensors(whole)
    for tensor in small.graph.initializer:
        array, rows = weights[tensor.name], readers if tensor.name == "v" and readers else kept
        part = array[:, kept] if tensor.name == "w" else array if tensor.name == "axes" else array[rows]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(part), tensor.name))
    return [whole, small]


@pytest.mark.parametrize(
    ("kept", "readers", "wrong"),
    [
        ([0, 2, 3, 7], None, ""),
        ([2, 0, 3, 7], None, "w is in another order"),
        ([0, 2, 3, 7], [1, 2, 3, 7], "output 0 is off"),
    ],
)
def test_the_oracle_sees_it(kept: list[int], readers: list[int] | None, wrong: str) -> None:
    found = verdict(*pair(kept, readers))
    assert found.wrong.startswith(wrong)
    assert bool(found.wrong) == bool(wrong)
    assert not found.unseen


def test_other_values_are_seen() -> None:
    whole, small = pair([0, 2, 3, 7])
    for tensor in small.graph.initializer:
        if tensor.name == "b":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, "b"))
    assert verdict(whole, small).wrong == "b has other values"
    assert verdict(whole, small, lossless=True).wrong.startswith("output 0 is off")
    assert verdict(whole, small, fitted=True) == Verdict(unseen="weights were fitted"), "a fit changes weights"


NORMED = """(float[N,6] x) => (float y) <float[6,{0}] w, float[{0}] b, float[{0}] s, float[{0}] c, float[{0},3] v> {{
    m = MatMul(x, w)  a = Add(m, b)  n = LayerNormalization(a, s, c)  y = MatMul(n, v) }}"""
AVERAGED = """(float[N,6] x) => (float y) <float[6,{0}] w, float[{0}] b, float[{0},3] v, int64[1] axes = {{1}}> {{
    m = MatMul(x, w)  a = Add(m, b)  r = ReduceMean(a, axes)  g = Sigmoid(r)  n = Mul(a, g)  y = MatMul(n, v) }}"""


@pytest.mark.parametrize(("text", "name", "axis"), [(NORMED, "LayerNormalization_2", 1), (AVERAGED, "ReduceMean_2", 1)])
def test_what_runs_over_channels_runs_over_those_that_are_left(text: str, name: str, axis: int) -> None:
    right, wrong = (pair([0, 2, 3, 7], readers, text) for readers in (None, [1, 2, 3, 7]))
    assert verdict(*right).wrong.startswith("output 0 is off"), "statistics of zeros are others"
    assert verdict(*right, [(name, axis)]) == Verdict()
    assert verdict(*wrong, [(name, axis)]).wrong.startswith("output 0 is off")


def test_channels_are_those_that_are_nearest() -> None:
    whole = np.asarray([[1.0, 5.0, 1.0001, 9.0, 2.0]], np.float32)
    assert left_channels(whole, whole[:, [2, 3]], 1) == [2, 3]
    assert left_channels(whole, whole[:, [0, 3, 4]], 1) == [0, 3, 4]
    assert left_channels(whole, whole[:, [3, 2]], 1) is None, "another order"


@pytest.mark.parametrize("seed", range(3))
def test_graphs_run_at_every_size(seed: int) -> None:
    proto, _ = random_graph(seed)
    for sizes in SIZES:
        assert all(np.isfinite(a).all() for a in run(proto, sizes))
