"""The same numbers as ONNX Runtime, on named small networks and on random ones."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.property.graphs import random_inputs, random_model
from tests.property.idioms import IDIOMS
from tests.train.case import parity

TOLERANCE = 1e-4
SEEDS = 100


@pytest.mark.parametrize("family", sorted({name.split(".")[0] for name in IDIOMS}))
def test_idioms(family: str) -> None:
    for name, build in IDIOMS.items():
        if name.startswith(f"{family}."):
            model = build()
            found = parity(model, random_inputs(model, np.random.default_rng(0)))
            assert found <= TOLERANCE, f"{name}: {found:.1e}"


@pytest.mark.parametrize("block", range(10))
def test_random_models(block: int) -> None:
    for seed in range(block, SEEDS, 10):
        model = random_model(np.random.default_rng(seed))
        found = parity(model, random_inputs(model, np.random.default_rng(seed)))
        assert found <= TOLERANCE, f"seed {seed}: {found:.1e}"
