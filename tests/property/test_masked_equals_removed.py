"""Random graphs: removing channels gives what masking them gives, whatever the graph and the settings."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor import errors
from compressor.commands import prune
from tests.oracle import TOLERANCE, worst
from tests.property.graphs import blocks_of, random_model, settings_for

FAST = range(32)
MANY = range(32, 700)


@cache
def check(seed: int) -> int:
    """Prunes one random graph, and holds every value against the masked one. Returns the channels removed."""
    rng = np.random.default_rng(seed)
    model = random_model(rng)
    settings = settings_for(rng)
    try:
        result = prune.prune(ir.from_proto(model), settings)
    except errors.NotPossible:
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
