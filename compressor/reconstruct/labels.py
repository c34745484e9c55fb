"""The last layer anew from labels, in closed form: the ridge of arXiv 2106.07905 with classes as targets.

The target of a sample is the mean of the logits, plus what is high for its class and low for all others, of the spread
that logits have about their mean in a sample; so the scale of what follows, a softmax or a threshold, stays. The ridge
is centred on the weights that are there, and held-out samples tell by how many classes they miss which one is taken,
if any.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.operators.table import adds, operator_of
from compressor.reconstruct.fit import Affine, Holdout
from compressor.reconstruct.form import Matrix, as_float64
from compressor.reconstruct.layers import LayerPair, repairable_layers
from compressor.reconstruct.lstsq import LeastSquares
from compressor.reconstruct.options import ReconstructOptions
from compressor.reconstruct.run import batches_of
from compressor.reconstruct.task import LayerRepair, Split, WeightTask
from compressor.runtime.taps import tap

OPTIONS = ReconstructOptions(samples=5000, batch_size=128, dampings=(1e-4, 1e-3, 1e-2, 0.1, 1.0), min_rows=50_000)
"""Rows of a last layer are few, one a sample, so that all are taken; the ridge is chosen from five."""


class Misses(Holdout):
    """Held-out rows with one-hot targets, judged by the classes that are missed."""

    def error(self, found: Affine) -> float:
        """Share of the rows whose largest output is not where the largest target is."""
        wrong = count = 0
        for rows, bias in zip(self._rows, found.biases, strict=True):
            for x, y in rows:
                made = as_float64(x) @ found.matrix.transpose(0, 2, 1) + bias[:, None]
                wrong += int((_classes(made) != _classes(y)).sum())
                count += y.shape[1]
        return wrong / max(count, 1)


def _classes(rows: Matrix) -> Array:
    """The class of each row of [groups, rows, out]; groups hold classes one after the other."""
    return np.asarray(np.concatenate(list(rows), axis=1).argmax(axis=1))


class LabelTask(WeightTask):
    """Fits one layer to classes."""

    def __init__(self, layer: LayerPair, split: Split, options: ReconstructOptions) -> None:
        super().__init__([layer], LeastSquares, split, options)
        self._holdout = Misses(1)


def refit_last(model: ir.Model, data: Dataset, options: ReconstructOptions | None = None) -> LayerRepair:
    """Fits the last layer of a classifier to labels, in place, where held-out samples are then missed less often.

    Args:
        model: its first output is [n, classes], of the layer or of a softmax behind it.
        data: with labels int64[n].
        options: how.

    Returns:
        What was done; errors are shares of the held-out samples whose class is missed.

    Raises:
        UsageError: no linear layer of the model gives classes, or there is no data.
        ModelError: the model does not run on the data.
    """
    options = options or OPTIONS
    layer = last_layer(model)
    count, read = batches_of(model, data, options)
    batches = [read(k) for k in range(count)]
    found = list(tap(model, [layer.x, layer.y], (b.inputs for b in batches), options.provider))
    task = LabelTask(layer, Split(count), options)
    logits = np.concatenate([_scores(y, layer) for _, y in found])
    for index, (batch, (x, y)) in enumerate(zip(batches, found, strict=True)):
        assert batch.labels is not None
        targets = class_targets(logits, batch.labels.astype(np.int64)).reshape(y.shape)
        task.feed(0, index, (x, targets, None), lambda _, array: array)
    done = task.finish()
    if not done:
        raise UsageError(f"--refit-last cannot refit layer {layer.name!r}: {task.reason}; leave it out")
    return done[0]


def class_targets(logits: Matrix, labels: Array) -> Matrix:
    """What the logits of samples should be.

    Args:
        logits: float64[m, classes], as they are, of any samples.
        labels: int64[n].

    Returns:
        float64[n, classes], of the same mean, and of the same spread about it in a sample.
    """
    classes = logits.shape[1]
    aims = np.eye(classes)[labels] - 1 / classes
    # Both are root mean squares of what stands about the mean of a sample; for one-hot rows it is known.
    spread = np.sqrt(np.square(logits - logits.mean(axis=1, keepdims=True)).mean())
    return np.asarray(logits.mean() + aims * spread / np.sqrt((classes - 1) / classes**2))


def last_layer(model: ir.Model) -> LayerPair:
    """The linear layer that gives the first output: at once, or through a bias, a movement or a softmax.

    Raises:
        UsageError: something else gives it, or the weight is computed or read elsewhere too.
    """
    value: ir.Value | None = model.graph.outputs[0]
    node = value.producer() if value is not None else None
    while node is not None and not operator_of(node).linear:
        computed = [v for v in node.inputs if v is not None and not v.is_initializer()]
        if len(computed) != 1 or not _keeps_classes(node):
            raise UsageError(
                f"--refit-last needs an output that a linear layer gives, and node {node.name!r} ({node.op_type}) "
                "stands behind it; leave it out"
            )
        node = computed[0].producer()
    read = [] if node is None else [str(v.name) for v in node.inputs if v is not None and v.producer() is not None]
    layers, skipped = repairable_layers(model, model, set(read))
    own = [layer for layer in layers if layer.node is node]
    if node is None or not own:
        reason = "the first output is no result of a linear layer" if node is None else skipped.get(str(node.name))
        raise UsageError(
            f"--refit-last finds no layer to refit: {reason or 'its input is one of the model'}; leave it out"
        )
    return own[0]


def _keeps_classes(node: ir.Node) -> bool:
    """Does the largest of a node's inputs stay the largest: a bias is added, something is moved, or a softmax taken?"""
    operator = operator_of(node)
    soft = operator.normalises is None and operator.over is None and operator.synflow == "bypass"
    return adds(node) or operator.hands_on or operator.moves or operator.probabilities or soft


def _scores(output: Array, layer: LayerPair) -> Matrix:
    """The layer's output as [n, classes].

    Raises:
        UsageError: it has positions beside.
    """
    sizes = [n for n in output.shape[1:] if n > 1]
    if len(sizes) != 1:
        raise UsageError(
            f"--refit-last needs one class a sample, and layer {layer.name!r} gives {list(output.shape)}; leave it out"
        )
    return as_float64(output).reshape(len(output), -1)
