"""Random graphs whose nodes have bodies, nested: removing channels gives what masking them gives, inside too."""

from __future__ import annotations

from functools import cache
from math import prod

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor import errors
from compressor.commands import prune
from compressor.graph.ir.captures import nodes_inside
from tests.property.blocks_flow import BLOCKS_WITH_BODIES
from tests.property.graphs import ENTRIES, choose, finish, new_builder, settings_for, start, to_model
from tests.property.growing import Net

FAST = range(12)
MANY = range(12, 300)


def model_of(rng: np.random.Generator, size: int = 7) -> onnx.ModelProto:
    """A graph of ``size`` blocks of which about every second one has a body."""
    net = Net(new_builder(rng, int(rng.choice([13, 17, 18, 21]))))
    x = start(net)
    while len(net.used) <= size:
        flows = net.b.chance(0.5) and prod(x.shape[1:]) <= ENTRIES
        x = net.grow(BLOCKS_WITH_BODIES[0] if flows else choose(net.b, x), x) or x
    return to_model(net, finish(net, x))


@cache
def check(seed: int) -> tuple[int, int]:
    """Prunes one random graph. Returns the channels removed, and weights that only bodies read and that got smaller."""
    rng = np.random.default_rng([7, seed])
    proto = model_of(rng)
    settings = settings_for(rng)
    source = ir.from_proto(proto)
    try:
        result = prune.prune(source, settings)
    except errors.NotPossible:
        return 0, 0
    except errors.CompressorError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    assert result.report.proof is not None
    assert result.report.proof.passed
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    return sum(group.removed for group in result.report.groups), smaller(source, result.model)


def smaller(source: ir.Model, made: ir.Model) -> int:
    held = {str(v.name): v for graph in (source.graph, *source.graph.subgraphs()) for v in graph.initializers.values()}
    inner = {v for node in made.graph for n in nodes_inside(node) for v in n.inputs if v is not None}
    found = [v for v in made.graph.initializers.values() if v in inner and str(v.name) in held]
    return sum(list(v.shape or ()) != list(held[str(v.name)].shape or ()) for v in found)


@pytest.mark.parametrize("seed", FAST)
def test_masked_equals_removed_in_bodies(seed: int) -> None:
    check(seed)


def test_bodies_do_lose_channels() -> None:
    """The property would hold of a tool that leaves bodies alone."""
    assert sum(check(seed)[1] > 0 for seed in range(12)) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_many_graphs_with_bodies(seed: int) -> None:
    check(seed)
