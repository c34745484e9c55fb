"""Damage changes files, in the same way for the same seed; the judge sees what is wrong with a written file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.models import model

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import damage
import damaged
from campaign_graphs import random_graph

TEXT = "(float[N,6] x) => (float y) <float[6,8] w, float[8,3] v> { m = MatMul(x, w)  a = Relu(m)  y = MatMul(a, v) }"


@pytest.mark.parametrize("harm", dict.fromkeys(damage.HARMS))
def test_every_harm_changes_some_file_and_can_be_repeated(harm: damage.Harm) -> None:
    changed = 0
    for seed in range(6):
        whole = random_graph(seed)[0].SerializeToString(deterministic=True)
        copies = [onnx.ModelProto.FromString(whole) for _ in range(2)]
        said = [harm(copy, np.random.default_rng(seed)) for copy in copies]
        one, two = (copy.SerializePartialToString(deterministic=True) for copy in copies)
        assert one == two
        assert said[0] == said[1]
        changed += one != whole
    assert changed >= 3


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("Relu", "Relu", ""),
        ("Relu", "Abs", "output 0 is off"),
        ("Relu", "Identity", "output 0 is off"),
        ("float[8,3] v", "float[8,2] v", "output 0 has shape (2, 2), not (2, 3)"),
        ("float[8,3] v", "float[7,3] v", "the result does not load"),
    ],
)
def test_the_judge_sees_it(old: str, new: str, verdict: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    onnx.save(model(TEXT), one)
    onnx.save(model(TEXT.replace(old, new), checked=False), two)
    found = damaged.verdict(one, two, values=True)
    assert found.startswith(verdict)
    assert bool(found) == bool(verdict)
