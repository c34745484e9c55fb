"""Plans of several steps, as one plan on the original."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from tests.models import in_memory, model
from tests.property.graphs import random_model


def weights(found: ir.Model) -> dict[str, bytes]:
    return {k: v.const_value.tobytes() for k, v in found.graph.initializers.items() if v.const_value is not None}


def shapes(found: ir.Model) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(value.const_value.shape.numpy())
        for name, value in found.graph.initializers.items()
        if value.const_value is not None and value.const_value.dtype.is_floating_point()
    }


def agree(source: ir.Model, **asked: object) -> ir.Model | None:
    """What several steps leave, which is what their plan leaves, replayed on the original; None: nothing went."""
    try:
        found = prune(source, PruneSettings.parse(asked))
    except NothingToPrune:
        return None
    if found.plan is None:
        return None
    # A proof holds for any plan; whether this is the steps' plan is what the shapes tell.
    again = prune(source, PruneSettings.parse({**asked, "verify": "off"}), plan=found.plan)
    assert shapes(found.model) == shapes(again.model)
    return found.model


@pytest.mark.parametrize("schedule", ["linear", "cubic", "exponential"])
def test_steps_of_a_chain(schedule: str) -> None:
    source = in_memory(
        model(
            """(float[3,4,6,6] x) => (float y)
            <float[64,4,3,3] w, float[64] bias, float[32,64,1,1] v, float[4,32,1,1] head> {
                a = Conv(x, w, bias)  b = Relu(a)  c = Conv(b, v)  d = Relu(c)  y = Conv(d, head) }"""
        )
    )
    small = agree(source, ratio=0.5, steps=5, schedule=schedule, round_to=1)
    assert small is not None
    assert shapes(small)["w"] == (32, 4, 3, 3)
    assert shapes(small)["v"] == (16, 32, 1, 1)


def test_the_plan_keeps_the_weights_that_the_steps_kept() -> None:
    """Without recovery a weight never changes, so the two files agree in every bit."""
    source = in_memory(model("(float[1,4,6,6] x) => (float y) <float[32,4,3,3] w, float[4,32,1,1] v> "
                             "{ a = Conv(x, w)  b = Relu(a)  y = Conv(b, v) }"))  # fmt: skip
    found = prune(source, PruneSettings(ratio=0.6, steps=4, round_to=1))
    again = prune(source, PruneSettings(), plan=found.plan)
    assert weights(found.model) == weights(again.model)


FAST, MANY = range(8), range(8, 60)


@pytest.mark.parametrize("seed", FAST)
def test_steps_of_random_graphs(seed: int) -> None:
    steps(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_steps_of_many_random_graphs(seed: int) -> None:
    steps(seed)


def test_most_random_graphs_can_be_replayed() -> None:
    assert sum(steps(seed) for seed in FAST) >= 5


@cache
def steps(seed: int) -> bool:
    """Do steps on a random graph remove something? What they leave is held against their plan."""
    rng = np.random.default_rng(seed)
    source = ir.from_proto(random_model(rng, size=8))
    small = agree(
        source,
        ratio=float(rng.choice([0.3, 0.5, 0.7])),
        steps=int(rng.integers(2, 5)),
        schedule=str(rng.choice(["linear", "cubic", "exponential"])),
        round_to=int(rng.choice([1, 2, 8])),
        attention=str(rng.choice(["heads", "dims"])),
        scope=str(rng.choice(["local", "global"])),
        simplify=bool(rng.random() < 0.7),
        verify="quick",
    )
    return small is not None
