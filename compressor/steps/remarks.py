"""What the report of a run says of a model in words, beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from compressor.config import PruneSettings, RunSettings
from compressor.core.formatting import count, share
from compressor.graph.ir.meta_keys import UNFUSED
from compressor.pruning.budgets import cost
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.cut.freed import held_by_caches
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.results import (
    ModelStats,
)

NODES_NAMED = 3
"""Nodes that a warning names."""


def remarks(analysis: Analysis, before: ModelStats, evidence: Evidence | None, settings: RunSettings) -> list[str]:
    """What is to be said of a model that was analysed, and of the proof, where there was one."""
    return [
        *_unfused(analysis.model),
        *_partial(before),
        *_once(analysis),
        *_deep(analysis, settings),
        *_cached(analysis, before, settings),
        *_noted(evidence),
    ]


def left_alone(skipped: Mapping[str, str], who: str = "recovery") -> list[str]:
    """One warning a reason, with the first nodes that it holds for; ``who`` left them alone."""
    nodes: dict[str, list[str]] = {}
    for node, reason in skipped.items():
        # One line a reason: a model with hundreds of such nodes would fill the report otherwise.
        nodes.setdefault(reason, []).append(repr(node))
    warnings = []
    for reason, names in nodes.items():
        more = f" and {len(names) - NODES_NAMED} more" if len(names) > NODES_NAMED else ""
        warnings.append(f"{who} left {', '.join(names[:NODES_NAMED])}{more} alone: {reason}")
    return warnings


def _noted(evidence: Evidence | None) -> list[str]:
    return [f"proof: {evidence.note}"] if evidence is not None and evidence.note else []


def _partial(stats: ModelStats) -> list[str]:
    if not stats.uncounted:
        return []
    return [f"MACs are partial: they leave out {count(stats.uncounted, 'node')} whose cost is not known"]


def _once(analysis: Analysis) -> list[str]:
    if not cost.in_bodies(analysis.model.graph, analysis.shapes):
        return []
    return ["MACs count every body of control flow once: one iteration of a loop, and each branch of an If"]


def _deep(analysis: Analysis, settings: RunSettings) -> list[str]:
    if not isinstance(settings, PruneSettings) or not settings.depth or analysis.coupling.blocks:
        return []
    return ["--depth found no residual block that may go: no sum of a value and a branch that starts from it"]


def _cached(analysis: Analysis, before: ModelStats, settings: RunSettings) -> list[str]:
    if not isinstance(settings, PruneSettings) or settings.cache_heads:
        return []
    held = held_by_caches(analysis.coupling)
    if not held:
        return []
    channels = count(sum(row.channels for row in held), "channel")
    part = share(sum(row.elements for row in held), before.params)
    return [
        f"the caller's cache holds keys and values of every head, so {channels} of queries, keys and values stay, with "
        f"{part} of the parameters; --cache-heads declares the cache anew and lets heads go"
    ]


def _unfused(model: ir.Model) -> list[str]:
    unfused = model.meta.get(UNFUSED)
    if not unfused:
        return []
    listed = ", ".join(f"{number} {op}" for op, number in unfused.items())
    return [f"operators that ONNX Runtime fused ({listed}) are written as simpler ones; it fuses most when it loads"]
