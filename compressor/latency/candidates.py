"""An analysed graph at other widths: the plan that leads there, the model, and what tells one graph from another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import onnx_ir as ir

from compressor.channels.groups import ChannelGroup
from compressor.channels.plan import PruningPlan, plan_of
from compressor.config import PruneSettings
from compressor.pruning.budgets.budget import Removed
from compressor.pruning.budgets.parts import OperatorChain
from compressor.pruning.budgets.select import policy_of
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.cut.apply import apply_plan


@dataclass(frozen=True)
class Candidates:
    """What can be cut from one graph.

    Attributes:
        analysis: of the model.
        groups: all groups of its channels.
        settings: of the run.
    """

    analysis: Analysis
    groups: list[ChannelGroup]
    settings: PruneSettings

    def plan(self, removed: Removed) -> PruningPlan:
        """The plan in which each group loses these units."""
        return plan_of(self.analysis.coupling, self.groups, removed, policy_of(self.settings))

    def model(self, removed: Removed) -> ir.Model:
        """The smaller model, not proved."""
        return apply_plan(self.analysis, self.plan(removed))


def fingerprint(parts: Sequence[OperatorChain]) -> str:
    """The same for graphs whose operators take the same time at the same widths: all but the numbers in the weights."""
    lines = []
    for part in parts:
        for node in part.nodes:
            settings = sorted(f"{a.name}={a.value}" for a in node.attributes.values() if a.type in _PLAIN)
            shapes = [part.shapes.get(v) if v is not None else None for v in [*node.inputs, *node.outputs]]
            # Names too, as the table is looked up by them.
            lines.append(f"{node.domain}::{node.op_type} {node.name} {settings} {shapes}")
    return sha256("\n".join(lines).encode()).hexdigest()


_PLAIN = frozenset(
    {
        ir.AttributeType.INT,
        ir.AttributeType.INTS,
        ir.AttributeType.FLOAT,
        ir.AttributeType.FLOATS,
        ir.AttributeType.STRING,
        ir.AttributeType.STRINGS,
    }
)
"""Attributes that are numbers and words, not tensors or graphs."""
