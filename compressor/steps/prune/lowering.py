"""Which masked layers are written as smaller convolutions: those that were measured to be faster so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.config.choices import STRUCTURES
from compressor.core.clock import Clock
from compressor.core.formatting import count
from compressor.evaluate.attribution import attributed
from compressor.operators.table import operator_of
from compressor.results import Report
from compressor.steps.remarks import NODES_NAMED

if TYPE_CHECKING:
    from compressor.structures.apply import Changed
    from compressor.train.loop.extension import Extension

FASTER = 0.97
"""A layer is lowered where it takes at most this share of the time that it takes with zeros."""
REST = "(rest)"
"""What belongs to no layer."""
SLOWER = (
    "{layers} ({names}) keep zeros in their weights, as smaller convolutions were not measured to be faster; --lower "
    "always writes them all the same"
)
NOT_WRITTEN = "{layers} ({names}) keep zeros in their weights, as {reason}"
ZEROS = (
    "--target-macs {target:g} counts what is not zero: the graph computes {left:.2f} of the multiply-accumulates, as "
    "zeros stay in {layers}; --lower always writes smaller ones where it can, --structure channels takes all out"
)
COARSE_STEPS = 0.05
"""Share of the multiply-accumulates by which a target may be missed without a word, as steps are coarse."""
UNFIT = "no few smaller convolutions come to what the mask keeps"
NEVER = "--lower never asks for it"


def lowered(changed: Changed, settings: PruneSettings, clock: Clock) -> tuple[Changed, list[str]]:
    """Leaves those layers lowered that ``--lower`` asks for, and says which are not.

    Args:
        changed: with every layer lowered that can be.
        settings: ``lower``, and where and how times are taken.
        clock: times this.

    Raises:
        ProviderUnavailable: the provider is not there.
    """
    able = [row.node for row in changed.layers if row.lowered]
    # Coefficients without columns are stored as such, and were never to be smaller convolutions.
    notes = _note(NOT_WRITTEN, [row.node for row in changed.layers if not row.weights], UNFIT)
    # Low-rank products have no form with zeros to choose instead.
    if STRUCTURES.find(settings.structure).masks is None or settings.lower == "always" or not able:
        return changed, notes
    if settings.lower == "never":
        return changed.lowering([]), _note(NOT_WRITTEN, [row.node for row in changed.layers], NEVER)
    # Only measured: whether several small convolutions beat one with zeros depends on the runtime and its kernels.
    with clock.phase("time"):
        faster = _faster(changed, able, settings)
    slower = [node for node in able if node not in faster]
    return (changed.lowering(faster) if slower else changed), [*notes, *_note(SLOWER, slower)]


def kept_in_training(changed: Changed | None, settings: PruneSettings) -> tuple[PruneSettings, list[Extension]]:
    """Settings and extensions of training under which masks that stay as zeros keep them."""
    if changed is None or not changed.zeros:
        return settings, []
    from compressor.train.constraints.basis import BasisTraining
    from compressor.train.constraints.support import zeros_stay

    plain = settings.model_copy(update={"expand": 0.0})  # the factors that a weight is expanded to have no zeros
    bases = [BasisTraining(changed.bases)] if changed.bases else []
    return plain, [zeros_stay(changed.zeros), *bases]


def zeros_in_target(report: Report) -> list[str]:
    """A warning where a target of multiply-accumulates is met by zeros alone, which the graph computes with."""
    target, after = report.done.get("target_macs"), report.output
    masked = STRUCTURES.find(str(report.done.get("structure", "channels"))).masks is not None
    zeros = [row.node for row in report.changed if masked and not row.lowered]
    if target is None or after is None or not zeros or not report.input.macs:
        return []
    left = after.macs / report.input.macs
    return (
        []
        if left <= target + COARSE_STEPS
        else [ZEROS.format(target=target, left=left, layers=count(len(zeros), "layer"))]
    )


def _note(sentence: str, nodes: Sequence[str], reason: str = "") -> list[str]:
    if not nodes:
        return []
    names = ", ".join(repr(node) for node in nodes[:NODES_NAMED]) + (" ..." if len(nodes) > NODES_NAMED else "")
    return [sentence.format(layers=count(len(nodes), "layer"), names=names, reason=reason)]


def _faster(changed: Changed, nodes: Sequence[str], settings: PruneSettings) -> list[str]:
    """Layers that take less time lowered, with what runs along with them, in the graph that they stand in."""
    from compressor.latency.timing import RuntimeTimer

    timer = RuntimeTimer(changed.reference, settings)
    before, after = (
        attributed(timer.operators(model), layers_by_name(model, nodes)) for model in (changed.reference, changed.model)
    )
    return [node for node in nodes if after.get(node, 0.0) < FASTER * before.get(node, 0.0)]


def layers_by_name(model: ir.Model, layers: Sequence[str]) -> dict[str, str]:
    """By the name of every node and of what it writes, the layer that its time counts for, or :data:`REST`.

    Nodes that a layer was written as have its name and a suffix. What is no product counts for the last product whose
    results reach it, as the runtime may run it within that.
    """
    owners: dict[str, str] = {}
    last: dict[ir.Value, tuple[int, str]] = {}
    for number, node in enumerate(model.graph):
        # The dot keeps "conv1" from taking what belongs to "conv10".
        own = next((name for name in layers if str(node.name) == name or str(node.name).startswith(f"{name}.")), None)
        if own is not None:
            owner = (number, own)
        elif operator_of(node).multiplies:
            owner = (number, REST)
        else:
            # Tuples compare by the number of the node first, so the largest is the last producer.
            owner = max((last[v] for v in node.inputs if v in last), default=(number, REST))
        last.update(dict.fromkeys(node.outputs, owner))
        owners |= {str(v.name): owner[1] for v in node.outputs} | {str(node.name): owner[1]}
    return owners
