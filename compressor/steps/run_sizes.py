"""How many samples go through a model: in one run, and in all."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.config import DataSettings, RunSettings
from compressor.core.scratch import scratch
from compressor.data import Dataset
from compressor.errors import ModelError
from compressor.evaluate.likeness import outputs_row
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.batch_limit import batch_limit, limit_batch
from compressor.operators.sizes import infer
from compressor.pruning.budgets.cost import affordable_samples, macs_per_sample
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.results.detail import OutputsRow

COMPARED, COMPARED_MACS = 512, 50e9
"""Samples that outputs are compared on, at most, and multiply-accumulates of one model on all of them."""
RUN_BYTES, BYTES_OF_NUMBER = 1 << 30, 4
"""Of all values of one run together, at most; most of them are float32."""
ONE_BY_ONE = "samples went through the model one by one, as it does not take several at a time: {reason}"


def _comparable(model: ir.Model, settings: RunSettings, count: int) -> int:
    """How many of ``count`` samples outputs are compared on, so that it takes seconds."""
    plain = normalise(model.clone())
    shapes = infer(plain, settings.input_shapes, settings.dims)
    macs = macs_per_sample(plain.graph, shapes)
    return min(count, COMPARED, affordable_samples(macs, COMPARED_MACS))


def outputs_against(
    source: ir.Model, models: Sequence[ir.Model], data: Dataset, settings: DataSettings
) -> OutputsRow | None:
    """How far outputs of the last of ``models``, and of the one before it, are from those of ``source`` on ``data``.

    Against the file as it was given, so that preparation is in the comparison too. None where nothing can be compared.

    Raises:
        ModelError: a model does not run on ``data``.
    """
    original = normalise(source.clone())
    settings = settings.model_copy(update={"batch_size": run_size(original, data, settings)})
    return outputs_row([original, *models], data, settings, count=_comparable(source, settings, len(data)))


def follow_batch(models: Sequence[ir.Model], data: Dataset, settings: RunSettings) -> list[str]:
    """Finds out by trying whether a model takes several samples at a time, and notes it on all where it does not.

    Some operators want a batch of one under conditions that no file declares, as grouped attention of ONNX Runtime does
    beside a cache.

    Args:
        models: the original first, and others that were made from it.
        data: samples.
        settings: where it runs.

    Returns:
        What the report has to say.
    """
    if batch_limit(models[0]) is not None or len(data) < 2:
        return []
    with scratch() as folder:
        ready = runnable(models[0], folder, settings.provider).open()
        two, problem = ready.tried([dict(data.take(np.arange(2)).inputs)], 1)
        # Where not even one runs, the size of the batch is not what is wrong.
        if two or not ready.tried([dict(data.take(np.arange(1)).inputs)], 1)[0]:
            return []
    for model in models:
        limit_batch(model, 1)
    return [ONE_BY_ONE.format(reason=str(problem).partition(";")[0])]


def open_sizes(model: ir.Model, data: Dataset, settings: RunSettings) -> dict[str, int]:
    """Sizes that samples have along open dimensions, by symbol: but for the first axis, and inputs of a given shape."""
    one, found = data.take(np.zeros(1, np.int64)).inputs, dict[str, int]()
    for value in model.graph.inputs:
        name = str(value.name)
        if name not in one or name in settings.input_shapes or value.shape is None:
            continue
        # Not strict: what does not fit is refused elsewhere.
        for axis, (dim, size) in enumerate(zip(value.shape, one[name].shape, strict=False)):
            if axis and isinstance(dim, ir.SymbolicDim):
                # Unnamed ones are called as :func:`compressor.evaluate.pair.open_model` calls them.
                found[dim.value or f"{name}#{axis}"] = size
    firsts = {v.shape[0].value for v in model.graph.inputs if v.shape and isinstance(v.shape[0], ir.SymbolicDim)}
    return {symbol: size for symbol, size in found.items() if symbol not in firsts}


def run_size(model: ir.Model, data: Dataset, settings: DataSettings) -> int:
    """Samples in one run: ``--batch-size``, or fewer where what one run computes would not fit."""
    if batch_limit(model) is not None:
        return settings.batch_size  # the file says how many there are in a run
    one = data.take(np.zeros(1, np.int64)).inputs
    named = {str(v.name) for v in model.graph.inputs if not v.is_initializer()}
    try:
        shapes = infer(model, {name: array.shape for name, array in one.items() if name in named})
    except ModelError:
        return settings.batch_size
    computed = (shapes(v) for node in model.graph for v in node.outputs)
    held = BYTES_OF_NUMBER * sum(prod(shape) for shape in computed if shape is not None)
    return max(1, min(settings.batch_size, int(RUN_BYTES / max(held, 1))))
