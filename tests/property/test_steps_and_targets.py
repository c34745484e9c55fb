"""Whether a target can be met is a fact of the graph: every number of steps finds the same, and meets it."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import CompressorError
from compressor.pruning.budgets.budget import TARGET_TOLERANCE
from compressor.steps.counts import stats_in_memory
from tests.models import in_memory, model
from tests.property.graphs import random_model

COUNTED = {"target_macs": "macs", "target_params": "params", "target_size": "bytes"}
STEPS = (1, 2, 3, 4)
WORDS = 512
"""Bytes by which what a file says of its origin may be shorter than it was counted."""
FAST = range(9)
MANY = range(9, 120)


def stack(rng: np.random.Generator) -> onnx.ModelProto:
    """Layers of random widths, most of whose bytes are weights."""
    widths = [6, *(int(width) for width in rng.integers(5, 72, size=3)), 4]
    values = ["x", "a", "b", "c", "y"]
    weights = ", ".join(f"float[{i},{o}] w{o_}" for i, o, o_ in zip(widths, widths[1:], range(4), strict=False))
    nodes = " ".join(
        f"m{k} = MatMul({values[k]}, w{k}) {values[k + 1]} = {'Relu' if k < 3 else 'Identity'}(m{k})" for k in range(4)
    )
    return model(f"(float[3,6] x) => (float y) <{weights}> {{ {nodes} }}")


@cache
def check(seed: int) -> int:
    """Prunes one graph to one target in different numbers of steps; returns the exit code of all of them."""
    rng = np.random.default_rng([11, seed])
    target = list(COUNTED)[seed % 3]
    # Of a small graph names and nodes are most of the bytes.
    proto = random_model(rng, size=3) if target != "target_size" and rng.random() < 0.6 else stack(rng)
    share = float(rng.choice([0.9, 0.7, 0.4, 0.05]))
    asked = {
        target: share,
        # Losses take torch, whose import alone takes seconds.
        "scope": str(rng.choice(["local", "global"] if seed in FAST else ["local", "global", "loss"])),
        "round_to": int(rng.choice([1, 2, 8])),
        "schedule": str(rng.choice(["linear", "cubic", "exponential"])),
        "recover": "none",
        "verify": "off",
        "samples": 16,
    }
    codes = {steps: _code(proto, {**asked, "steps": steps}, target) for steps in STEPS}
    assert len(set(codes.values())) == 1, (seed, asked, codes)
    return codes[1]


def _code(proto: onnx.ModelProto, asked: dict[str, object], target: str) -> int:
    """The exit code; where it is 0, the target is met."""
    try:
        result = prune(in_memory(proto), PruneSettings.parse(asked))
    except CompressorError as error:
        return error.exit_code
    what, share = COUNTED[target], asked[target]
    before, after = result.report.input, stats_in_memory(result.model, PruneSettings())
    wanted = share * getattr(before, what)
    assert abs(getattr(after, what) - wanted) <= TARGET_TOLERANCE * wanted + WORDS * (what == "bytes"), asked
    return 0


@pytest.mark.parametrize("seed", FAST)
def test_steps_agree(seed: int) -> None:
    check(seed)


def test_some_targets_are_met_and_some_are_not() -> None:
    assert {check(seed) for seed in FAST} == {0, 4}


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_steps_agree_on_many_graphs(seed: int) -> None:
    check(seed)
