"""How well gradients pass through the original and the result, for the report."""

from __future__ import annotations

from itertools import islice

import onnx_ir as ir

from compressor.data import Dataset, batches
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.results.detail import TrainabilityRow

SAMPLES_A_BATCH, BATCHES = 16, 20


def trainability_row(source: ir.Model, model: ir.Model, data: Dataset) -> TrainabilityRow:
    """Singular values of the Jacobian before and after, on a few batches of the data."""
    from compressor.train.gradients.trainability import trainability
    from compressor.train.module.graph_module import GraphModule

    size = batch_limit(source) or SAMPLES_A_BATCH
    measured = [
        trainability(GraphModule(m), islice(batches(data, size, drop_last=True), BATCHES)) for m in (source, model)
    ]
    return TrainabilityRow(
        mean_before=measured[0].mean,
        mean_after=measured[1].mean,
        condition_before=measured[0].condition,
        condition_after=measured[1].condition,
        samples=measured[0].samples,
    )
