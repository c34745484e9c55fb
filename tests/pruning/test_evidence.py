"""What runs say nothing about is told, and nothing of what several showed is lost."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.core.compare import Tolerance
from compressor.errors import NothingToProve, ProofFailed
from compressor.pruning.evidence import EMPTY, NO_NUMBER, Evidence, NotProved, demand_numbers, together
from compressor.pruning.standard import Standard
from compressor.runtime.stored import Runs
from tests.models import in_memory, model

FEED = {"x": np.zeros((1, 2), np.float32)}


def runs(**outputs: list[float]) -> Runs:
    return Runs(list(outputs), [FEED], [[np.asarray(values, np.float32) for values in outputs.values()]])


def evidence(**outputs: list[float]) -> Evidence:
    return Evidence.of(Standard(runs(**outputs), Tolerance(1e-4)), runs(**outputs))


def test_outputs_that_were_not_compared_are_named() -> None:
    found = evidence(y=[1.0, 2.0], z=[np.nan], empty=[])
    assert found.counts == {"y": 2, "z": 0, "empty": 0}
    assert found.silent == [NotProved("z", NO_NUMBER), NotProved("empty", EMPTY)]
    demand_numbers(found)


@pytest.mark.parametrize(("values", "words"), [([np.nan], "is a finite number"), ([], "is empty")])
def test_of_no_entry_nothing_is_proved(values: list[float], words: str) -> None:
    with pytest.raises(NothingToProve, match=words):
        demand_numbers(evidence(y=values))


def test_outputs_are_compared_by_name() -> None:
    with pytest.raises(ProofFailed, match=r"\['y', 'z'\] came as \['z', 'y'\]"):
        Evidence.of(Standard(runs(y=[1.0], z=[1.0]), Tolerance(1e-4)), runs(z=[1.0], y=[1.0]))


def test_no_run_meets_no_standard() -> None:
    nothing = Runs(["y"], [], [])
    assert not Standard(nothing, Tolerance(1e-4)).met_by(nothing)


def test_steps_keep_what_each_showed() -> None:
    steps = [
        Evidence(1e-4, max_rel_err=1e-5, masked_statistics=True, note="one"),
        Evidence(1e-4, max_rel_err=1e-6, note="two"),
        Evidence(1e-4, note="one"),
    ]
    found = together(steps)
    assert found is not None
    assert (found.masked_statistics, found.note, found.max_rel_err) == (True, "one; two", 1e-5)


def test_a_run_names_the_output_that_is_never_a_number() -> None:
    text = """(float[n,8] x) => (float[n,2] y, float[n,2] z) <float[8,16] w, float[16,4] u, float[4,2] v, float one> {
        a = MatMul(x, w)  b = Relu(a)  c = MatMul(b, u)  y = MatMul(c, v)
        n = Neg(b)  m = Sub(n, one)  l = Sqrt(m)  d = MatMul(l, u)  z = MatMul(d, v) }"""
    proto = model(text)
    for tensor in proto.graph.initializer:
        if tensor.name == "one":
            tensor.float_data[:] = []
            tensor.raw_data = np.float32(1).tobytes()
    found = prune(in_memory(proto), PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local")).report.proof
    assert found is not None
    assert ("z", NO_NUMBER) in [(row.group, row.reason) for row in found.not_proved]
