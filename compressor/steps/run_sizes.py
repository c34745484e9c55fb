"""How many samples go through a model: in one run, and in all."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from compressor.config import PruneSettings, RunSettings
from compressor.data import Dataset, batch_limit
from compressor.errors import ModelError
from compressor.graph.normalise import normalise
from compressor.graph.shapes import infer
from compressor.operators.table import RULES
from compressor.pruning.cost import macs_per_sample

COMPARED, FEWEST, WORK = 512, 32, 50e9
"""Samples that outputs are compared on: at most, at least, and multiply-accumulates of one model on all of them."""
RUN_BYTES, BYTES_OF_NUMBER = 1 << 30, 4
"""Of all values of one run together, at most; most of them are float32."""


def comparable(model: ir.Model, settings: RunSettings, count: int) -> int:
    """How many of ``count`` samples outputs are compared on, so that it takes seconds."""
    plain = normalise(model.clone())
    shapes = infer(plain, settings.input_shapes, settings.dims)
    macs = macs_per_sample(plain.graph, shapes, RULES)
    return min(count, COMPARED, max(FEWEST, int(WORK / max(macs, 1))))


def run_size(model: ir.Model, data: Dataset, settings: PruneSettings) -> int:
    """Samples in one run: ``--batch-size``, or fewer where what one run computes would not fit."""
    if batch_limit(model) is not None:
        return settings.batch_size  # the file says how many there are in a run
    one = data.take(np.zeros(1, np.int64)).inputs
    named = {str(v.name) for v in model.graph.inputs if not v.is_initializer()}
    try:
        shapes = infer(model, {name: array.shape for name, array in one.items() if name in named})
    except ModelError:
        return settings.batch_size
    made = (shapes(v) for node in model.graph for v in node.outputs)
    held = BYTES_OF_NUMBER * sum(prod(shape) for shape in made if shape is not None)
    return max(1, min(settings.batch_size, int(RUN_BYTES / max(held, 1))))
