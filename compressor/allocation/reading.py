"""Reads samples once for the rows of all layers: with gradients in torch, or without them in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.allocation.judge import Exact, Probe
from compressor.allocation.layer_samples import POSITIONS, Collected, Collectors
from compressor.allocation.views import LinearView
from compressor.channels.coupling import Coupling
from compressor.core.arrays import Array
from compressor.data import Batch, Dataset
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.pruning.budgets.cost import affordable_samples

ROWS_BYTES = 3 << 28
"""Of the rows of all layers together, at most."""
BATCH_BYTES = 1 << 28
"""Of all values of one batch, about."""


@dataclass(frozen=True)
class Sizing:
    """How much is read.

    Attributes:
        samples: in all.
        batch: at a time.
        drawn: rows of a sample and layer.
    """

    samples: int
    batch: int
    drawn: int


def sizing(coupling: Coupling, views: Sequence[LinearView], macs: float, wanted: int) -> Sizing:
    """As many as asked for, or fewer where that would take minutes or more memory than is meant for it.

    Args:
        coupling: tells the sizes of values.
        views: the layers that rows are kept of.
        macs: multiply-accumulates of one sample.
        wanted: samples that are asked for.
    """
    # Time comes first, then rows of each sample are given up for memory, and samples only at the end.
    samples = max(1, min(wanted, affordable_samples(macs)))
    row = 4 * sum(len(v.matrix) * (v.inputs + v.matrix.shape[1]) for v in views)
    drawn = int(np.clip(ROWS_BYTES / max(row * samples, 1), 1, POSITIONS))
    # At least two, as one half fits and the other judges.
    samples = max(2, min(samples, int(ROWS_BYTES / max(row * drawn, 1))))
    shapes = [coupling.shapes(v) for node in coupling.graph for v in node.outputs]
    # Torch keeps every value of a batch for the backward pass.
    held = 4 * sum(prod(shape) for shape in shapes if shape is not None) / coupling.shapes.batch
    return Sizing(samples, int(np.clip(BATCH_BYTES / max(held, 1), 1, 64)), drawn)


def drawn_batches(model: ir.Model, data: Dataset, size: Sizing, seed: int, skip: int = 0) -> Iterator[Batch]:
    """Samples drawn at random, in batches of the size that the model fixes or ``size`` says, without the first few."""
    fixed = batch_limit(model)
    step = fixed or size.batch
    order = np.random.default_rng(seed).permutation(len(data))[skip : size.samples].astype(np.int64)
    # A model with a fixed batch takes whole batches only; the last one is filled up with samples from the start.
    if fixed:
        order = np.resize(order, -(-len(order) // fixed) * fixed)
    for start in range(0, len(order), step):
        yield data.take(order[start : start + step])


def with_gradients(model: ir.Model, views: Sequence[LinearView], data: Dataset, size: Sizing, seed: int) -> Collected:
    """Rows and gradients, by torch.

    Raises:
        ModuleNotFoundError: torch is not installed.
        ModelError: it lacks an operator, or an output is no real number.
    """
    from compressor.train.gradients.output_gradients import OutputGradients  # noqa: PLC0415 - torch, for this alone

    # One run gives both: what a layer reads and the gradient at what it gives.
    run = OutputGradients(model, [v.layer.x for v in views], [v.layer.y for v in views], seed)
    collectors = Collectors(views, seed, size.drawn)
    for batch in drawn_batches(model, data, size, seed):
        values, gradients = run(batch)
        collectors.add(values, gradients, len(batch))
    return collectors.rows()


def exactly(
    model: ir.Model, views: Sequence[LinearView], data: Dataset, size: Sizing, seed: int
) -> Callable[[Sequence[Sequence[Probe]]], npt.NDArray[np.float64]]:
    """What judges changes exactly, on the samples that did not fit, one at a time."""
    from compressor.train.gradients.output_gradients import OutputGradients  # noqa: PLC0415 - torch, for this alone

    def judge(sets: Sequence[Sequence[Probe]]) -> npt.NDArray[np.float64]:
        # By the outputs of layers too: the sum of their gradients is that of a bias.
        names = [name for v in views for name in (v.layer.y, str(v.layer.weight.differentiable.name))]
        # Made only when it is asked for, since probes exist after all groups have gone their way.
        run = OutputGradients(model, [], list(dict.fromkeys(names)), seed)
        for first in islice(drawn_batches(model, data, size, seed), 1):
            run(first)  # sizes of the outputs are those of the first batch, which is to be the same as for the rows
        found = Exact(views, sets)
        # One sample at a time: the gradient by a weight is a sum over the batch, in which single samples cannot be told
        # apart.
        for batch in drawn_batches(model, data, replace(size, batch=1), seed, skip=size.samples // 2):
            found.add(run(batch)[1], len(batch))
        return found.losses()

    return judge


def without_gradients(
    model: ir.Model, views: Sequence[LinearView], data: Dataset, size: Sizing, seed: int, provider: str
) -> Collected:
    """Rows alone, by ONNX Runtime."""
    from compressor.runtime.taps import tap  # noqa: PLC0415 - ONNX Runtime is loaded only where it runs

    inputs = {str(v.name) for v in model.graph.inputs}
    # Inputs of the model are at hand and cannot be tapped as outputs.
    names = list(dict.fromkeys(name for v in views for name in (v.layer.x, v.layer.y) if name not in inputs))
    collectors = Collectors(views, seed, size.drawn)
    read = list[Batch]()

    def feeds() -> Iterator[dict[str, Array]]:
        for batch in drawn_batches(model, data, size, seed):
            # The tap pulls one batch, runs it and hands its values on before it pulls the next, so that one place is
            # enough.
            read[:] = [batch]
            yield dict(batch.inputs)

    for arrays in tap(model, names, feeds(), provider):
        values = {**read[0].inputs, **dict(zip(names, arrays, strict=True))}
        collectors.add(values, None, len(read[0]))
    return collectors.rows()
