"""Layers that changed are proved as they were written: against the same graph with these layers whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.core.scratch import scratch
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.proofs import proof
from compressor.pruning.proofs.graphs.constants import demand_same_constants
from compressor.pruning.proofs.graphs.exact import demand_settings
from compressor.pruning.proofs.graphs.wiring import demand_wiring_beside
from compressor.pruning.proofs.outputs.evidence import Evidence, demand_proof
from compressor.pruning.proofs.proof import MaskedReference
from compressor.pruning.proofs.runs.whole_or_pieces import runnable

if TYPE_CHECKING:
    from compressor.structures.apply import Changed

WHOLE = "the same graph with every changed layer whole, its weight the product of what it became"


def prove_changed(changed: Changed | None, analysis: Analysis, settings: PruneSettings, clock: Clock) -> list[Evidence]:
    """Proves that what was written equals the graph with the same layers whole.

    Raises:
        ProofFailed: it does not.
    """
    if changed is None or not settings.proves or not changed.layers:
        return []
    # All other layers are the same.
    demand_same_constants(changed.reference, changed.model, settings.provider)
    layers = [layer.node for layer in changed.layers]
    _demand_same_beside(changed.reference, changed.model, layers, "the model with changed layers")
    with clock.phase("prove"), scratch() as folder:
        reference = MaskedReference(changed.reference, runnable(changed.reference, folder, settings.provider))
        written = runnable(changed.model, folder, settings.provider)
        # The same proof as for a cut, with the whole weights in place of masks.
        evidence, standard = proof.prove(reference, written, analysis.shapes, settings)
        demand_proof(evidence)
        evidence = replace(evidence, reference=WHOLE)
        if settings.verify == "full":
            from compressor.structures.canary import try_wrong_weights

            noticed = try_wrong_weights(changed, standard, folder, settings.provider)
            evidence = evidence.with_missing(evidence.silent).with_wrong_models(noticed)
        if changed.unordered is not None:
            # Another order of channels sums in another order, so that this holds within rounding.
            whole = MaskedReference(changed.unordered, runnable(changed.unordered, folder, settings.provider))
            order, _ = proof.prove(whole, reference.stored, analysis.shapes, settings)
            demand_proof(order)
            return [replace(order, reference=WHOLE), evidence]
        return [evidence]


def prove_stored(
    plain: ir.Model, packed: ir.Model, analysis: Analysis, settings: PruneSettings, clock: Clock
) -> list[Evidence]:
    """Proves that a model gives the same once coefficients are packed in it; nothing where they are not.

    Raises:
        ProofFailed: it does not.
    """
    if packed is plain or not settings.proves:
        return []
    _demand_same_beside(plain, packed, (), "the packed model")
    with clock.phase("prove"), scratch() as folder:
        reference = MaskedReference(plain, runnable(plain, folder, settings.provider))
        evidence, _ = proof.prove(reference, runnable(packed, folder, settings.provider), analysis.shapes, settings)
        demand_proof(evidence)
        return [replace(evidence, reference=WHOLE)]


def _demand_same_beside(before: ir.Model, after: ir.Model, layers: Collection[str], called: str) -> None:
    """Settings of nodes, and who reads what, are the same beside these layers; raises ProofFailed where not."""
    names = frozenset(layers)
    demand_settings(before.graph, after.graph, called, lambda node, _: str(node.name) in names)
    demand_wiring_beside(before, after, names, called)
