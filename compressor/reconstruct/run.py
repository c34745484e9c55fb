"""Recovery without training: calibration data in, better weights out; no labels, no gradients, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.config.choices import RECOVERIES
from compressor.data import Batch, Dataset
from compressor.errors import UsageError
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.reconstruct.fit import MakeFit, RecoveryMethod
from compressor.reconstruct.layers import Kept, affected, repairable_layers, untie_weights
from compressor.reconstruct.options import ReconstructOptions
from compressor.reconstruct.recurrent import RecurrentVisit
from compressor.reconstruct.recurrent_layers import recurrent_layers
from compressor.reconstruct.sweep import LayerVisit, Visit, visit_in_order
from compressor.reconstruct.task import LayerRepair, Split, WeightTask, by_weight


@dataclass(frozen=True)
class RecoveryResult:
    """What a recovery did.

    Attributes:
        method: its name.
        samples: samples that were read.
        layers: layers that were looked at, in the order of the graph.
        skipped: node -> why it could not be repaired.
    """

    method: str
    samples: int
    layers: tuple[LayerRepair, ...]
    skipped: Mapping[str, str]


@dataclass(frozen=True)
class Fits:
    """Which fit each layer has.

    Attributes:
        method: a name in :data:`RECOVERIES`.
        own: node -> the fit of a layer that has one of its own.
    """

    method: str
    own: Mapping[str, MakeFit] = field(default_factory=dict)


def recover(
    pruned: ir.Model,
    original: ir.Model,
    cut: ChannelMask,
    method: str | Fits,
    data: Dataset,
    options: ReconstructOptions | None = None,
) -> RecoveryResult:
    """Repairs the weights of ``pruned``, in place, so that its layers give what those of ``original`` give.

    Args:
        pruned: what surgery left of the analysed model; names as in ``original``.
        original: a clone of the analysed model from before surgery.
        cut: what was removed.
        method: a name in :data:`compressor.config.choices.RECOVERIES`, or one with exceptions.
        data: calibration samples; labels are not read.
        options: how.

    Raises:
        UsageError: there is no such method, or no data.
        ModelError: one of the models does not run on the data.
    """
    options = options or ReconstructOptions()
    method, own = (method.method, method.own) if isinstance(method, Fits) else (method, {})
    fit: RecoveryMethod = RECOVERIES.find(method)
    count, read = batches_of(pruned, data, options)
    kept = Kept(cut)
    # Symmetric repairs see dense inputs, so that only layers that lost inputs are wrong; asymmetric ones follow errors
    # on.
    touched, after = affected(pruned.graph, kept, own)
    asymmetric = options.targets == "asymmetric" or fit.follows_errors
    wrong = after if asymmetric else touched
    untie_weights(pruned, original, wrong)
    layers, skipped = repairable_layers(pruned, original, wrong)
    recurrent, left = recurrent_layers(pruned, original, wrong)
    # Of recurrent layers the linear ones know only that they are none.
    skipped = {node: why for node, why in skipped.items() if node not in {r.name for r in recurrent}} | left
    split = Split(count)
    # By weight and not by layer, as tied layers have to agree on one.
    tasks = [WeightTask(users, own.get(users[0].name, fit), split, options) for users in by_weight(layers)]
    states = [
        RecurrentVisit(layer, pruned, kept, (fit, split, options), symmetric=not asymmetric) for layer in recurrent
    ]
    repairs: list[LayerRepair] = []
    # Two sweeps where weights are shared: their layers stand at several depths, so none can see the others repaired.
    for symmetric, chosen in _rounds(tasks, symmetric=not asymmetric):
        visits: list[Visit] = [
            LayerVisit(task, k, kept, symmetric=symmetric) for task in chosen for k in range(len(task.layers))
        ]
        if symmetric is not asymmetric:
            visits += states
        repairs += visit_in_order((pruned, original), visits, (count, read), options)
    # Reasons that only the data shows, after the graph gave none.
    skipped |= {layer.name: task.reason for task in tasks for layer in task.layers if task.reason is not None}
    skipped |= {visit.node: visit.reason for visit in states if visit.reason is not None}
    order = {str(n.name): k for k, n in enumerate(pruned.graph)}
    done = sorted(repairs, key=lambda r: order[r.node])
    return RecoveryResult(method, min(options.samples, len(data)), tuple(done), skipped)


def _rounds(tasks: list[WeightTask], *, symmetric: bool) -> list[tuple[bool, list[WeightTask]]]:
    """Weights that several layers share first, from dense inputs: none of their layers can wait for the others."""
    if symmetric:
        return [(True, tasks)]
    return [
        (True, [t for t in tasks if len(t.layers) > 1]),
        (False, [t for t in tasks if len(t.layers) == 1]),
    ]


def batches_of(model: ir.Model, data: Dataset, options: ReconstructOptions) -> tuple[int, Callable[[int], Batch]]:
    """The number of batches, and how to read one: a seeded sample of the data, in batches of the model's size.

    Raises:
        UsageError: there is no data, or inputs of the model differ in the number of samples that they take.
    """
    if not len(data):
        raise UsageError("the calibration data is empty; give at least one sample")
    order = np.random.default_rng(options.seed).permutation(len(data))[: options.samples].astype(np.int64)
    fixed = batch_limit(model)
    size = fixed or options.batch_size
    # A batch of fixed size is filled with repetitions rather than refused.
    if fixed and len(order) < fixed:
        order = np.resize(order, fixed)
    # A part of a batch does not run where the size is fixed.
    count = len(order) // size if fixed else -(-len(order) // size)

    def read(index: int) -> Batch:
        return data.take(order[index * size : (index + 1) * size])

    return count, read
