"""The closed world: without one operator's rule the result is still valid and exact, only less pruned."""

from __future__ import annotations

from functools import lru_cache

import onnx
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from compressor.operators.table import RULES
from compressor.pruning.budgets.cost import graph_params
from tests.models import in_memory
from tests.oracle import TOLERANCE, differences, pair, without
from tests.property.idioms import IDIOMS

NETWORKS = ("mobilenet", "shufflenet", "swin", "llama", "tagger")
SETTINGS = PruneSettings(ratio=0.5, round_to=1)


@lru_cache(maxsize=len(NETWORKS))
def network(name: str) -> onnx.ModelProto:
    return IDIOMS[f"network.{name}"]()


@lru_cache(maxsize=len(NETWORKS))
def left(name: str) -> int:
    """Parameters that stay under the whole table."""
    return graph_params(pair(in_memory(network(name)), SETTINGS).smaller.graph)


def deletions() -> list[tuple[str, str]]:
    found = []
    for name in NETWORKS:
        ops = {node.op_type for node in network(name).graph.node}
        found += [(name, op) for op in sorted(ops) if ("", op) in RULES]
    return found


@pytest.mark.parametrize(("name", "op"), deletions())
def test_without_the_rule(name: str, op: str) -> None:
    try:
        with without(op):
            found = pair(in_memory(network(name)), SETTINGS)
    except NothingToPrune:
        return
    onnx.checker.check_model(ir.to_proto(found.smaller))
    worst = max(differences(found).items(), key=lambda item: item[1])
    assert worst[1] < TOLERANCE, worst
    assert graph_params(found.smaller.graph) >= left(name)


def test_deletion_costs_compression() -> None:
    """A guard for the test above: most deletions do keep channels that would otherwise go."""
    for op in ("Add", "Relu"):
        with without(op):
            found = pair(in_memory(network("mobilenet")), SETTINGS)
        assert graph_params(found.smaller.graph) > left("mobilenet")
