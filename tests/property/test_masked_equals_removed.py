"""Random graphs: removing channels gives what masking them gives, whatever the graph and the settings."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor import errors
from compressor.commands import prune
from compressor.config import PruneSettings
from tests.oracle import TOLERANCE, worst
from tests.property.graphs import blocks_of, random_model

FAST = range(60)
MANY = range(60, 700)


def settings_for(rng: np.random.Generator) -> PruneSettings:
    return PruneSettings.parse(
        {
            "ratio": float(rng.choice([0.3, 0.5, 0.75])),
            "attention": str(rng.choice(["heads", "dims"])),
            "keep_norm_axes": bool(rng.random() < 0.2),
            "criterion": str(rng.choice(["l1", "l2", "consumers", "product", "fpgm", "lamp", "random"])),
            "scope": str(rng.choice(["local", "local", "global"])),
            "round_to": int(rng.choice([1, 1, 2, 8])),
            "simplify": bool(rng.random() < 0.8),
            "verify": str(rng.choice(["full", "quick", "quick"])),  # both compare what this is about
        }
    )


@cache
def check(seed: int) -> int:
    """Prunes one random graph, and holds every value against the masked one. Returns the channels removed."""
    rng = np.random.default_rng(seed)
    model = random_model(rng)
    settings = settings_for(rng)
    try:
        result = prune.prune(ir.from_proto(model), settings)
    except errors.NothingToPrune:
        return 0
    except errors.CompressorError as error:
        raise AssertionError(f"seed {seed} ({', '.join(blocks_of(model))}) with {settings}: {error}") from error
    name, gap = worst(ir.from_proto(model), settings)
    assert gap < TOLERANCE, f"seed {seed} ({', '.join(blocks_of(model))}) with {settings}: {name}"
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    return sum(group.removed for group in result.report.groups)


@pytest.mark.parametrize("seed", FAST)
def test_masked_equals_removed(seed: int) -> None:
    check(seed)


def test_random_graphs_do_lose_channels() -> None:
    """The property would hold of a tool that removes nothing."""
    assert sum(check(seed) > 0 for seed in range(20)) >= 18


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_masked_equals_removed_on_many(seed: int) -> None:
    check(seed)
