"""What is reported of unified weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from compressor.config import UnifySettings
from compressor.core.compare import is_real
from compressor.data.output_units import OutputUnits, farthest
from compressor.graph.ir.nodes import QUANTISED_BEFORE, mostly_codes
from compressor.results.unify import ResidualRow, TrainingRow, UnifiedRow
from compressor.runtime.stored import Runs
from compressor.unification.assignment import FREE, PRUNED, UNIFIED
from compressor.unification.choose import notation
from compressor.unification.layers import FoundWeights
from compressor.unification.layout import Blocking
from compressor.unification.train import APPROACH, SetTraining
from compressor.unification.unified import Unified


def output_error(before: Runs, after: Runs) -> float | None:
    """Largest norm of a change, as a share of the norm of the output."""
    pairs = [pair for rows in zip(before.outputs, after.outputs, strict=True) for pair in zip(*rows, strict=True)]
    found = [farthest(OutputUnits.of(one).squares(one, two)) for one, two in pairs if is_real(one)]
    # An output of zeros has no share to be of.
    return max((error for error in found if np.isfinite(error)), default=None)


def training_row(settings: UnifySettings, trained: SetTraining) -> TrainingRow:
    """The row of the report on what training did."""
    # Those of weights that were thrown away say nothing of the result.
    kept = all(row.what != APPROACH for row in trained.undone)
    return TrainingRow(
        method=settings.method,
        epochs=settings.approach_epochs,
        retrain_epochs=settings.retrain_epochs,
        residuals=[ResidualRow(**vars(row)) for row in trained.residuals if kept],
    )


def layer_row(unified: Unified) -> UnifiedRow:
    """What is reported of a layer."""
    layer, packed, weight = unified.layer, unified.packed, unified.weight
    found = unified.measured()
    return UnifiedRow(
        name=layer.name,
        label=layer.label,
        shape=list(layer.layout.view.shape),
        block=_block(layer.layout),
        weights=weight.size,
        blocks=layer.layout.count,
        unified=found.counts[UNIFIED],
        pruned=found.counts[PRUNED],
        free=found.counts[FREE],
        values=found.values,
        error=found.error,
        bits=found.bits,
        stored=packed.stored,
        macs=layer.macs,
        multiplications=found.multiplications,
        additions=found.additions,
    )


def _block(layout: Blocking) -> str:
    if layout.block.values:
        return notation(layout.block)
    return ("matrix:" if layout.block.matrix else "") + "x".join(map(str, layout.spans))


def ideal_bytes(dense: ir.Model, unified: Iterable[Unified], rows: Iterable[UnifiedRow]) -> int:
    """All initializers; unified ones by their ideal bits."""
    tensors = [v.const_value for v in dense.graph.initializers.values()]
    total = sum(int(t.nbytes) for t in tensors if t is not None)
    return total - sum(u.weight.nbytes for u in unified) + int(sum(row.bits for row in rows) / 8)


def why_nothing(found: FoundWeights, graph: ir.Graph) -> str:
    """Why no weight of ``graph`` is unified, with the main reason."""
    if mostly_codes(graph):
        return f"no weight can be unified: {QUANTISED_BEFORE}"
    if not found.left:
        return "the model has no floating-point weight, so there is nothing to unify"
    reasons: Mapping[str, int] = {
        reason: sum(x.weights for x in found.left if x.reason == reason) for reason in {x.reason for x in found.left}
    }
    main = max(sorted(reasons), key=lambda reason: reasons[reason])
    count = sum(x.reason == main for x in found.left)
    return f"no weight can be unified; the main reason, of {count} of {len(found.left)}: {main}"
