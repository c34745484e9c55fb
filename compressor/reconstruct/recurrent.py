"""The repair of a recurrent layer (ONNX LSTM-22, GRU-22, RNN-22), whose gates are linear before they bend.

A step computes ``z = W x + R h + b`` from what it reads, x, and from the hidden states of the step before, h. The dense
layer's inputs and hidden states give ``z`` of the gates that stay. It is fitted to what the smaller layer reads: its
own input, and the hidden states that stay; first as the dense layer has them, then, as errors add up over the steps,
also as the smaller layer has them with the weights of the rounds before (arXiv 1011.0686). Each product of each
direction is a Gemm in a graph of its own, fitted like any linear layer. Held-out sequences judge the layer as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.edit import add_constant, constant_array
from compressor.graph.ir.nodes import input_of
from compressor.operators.facts import GateProduct
from compressor.operators.recurrence import R
from compressor.reconstruct.fit import MakeFit
from compressor.reconstruct.form import Matrix, Pick, Unrepairable, as_float64
from compressor.reconstruct.layers import Kept, LayerPair, layer_kind
from compressor.reconstruct.options import ReconstructOptions
from compressor.reconstruct.recurrent_layers import GateWeights, RecurrentPair, computed, read_beside_weights
from compressor.reconstruct.rollout import NodeInputs, Rollout, Sequences, StepRows
from compressor.reconstruct.sweep import RunValues
from compressor.reconstruct.task import UNCHANGED, LayerRepair, Split, WeightTask
from compressor.reconstruct.weights import ReadWeight

GATE_FITS = 3
"""Fits: one to hidden states of the dense layer, the others also to those of the smaller one."""
Fitting = tuple[MakeFit, Split, ReconstructOptions]
"""What a task is made with."""


@dataclass(frozen=True)
class _Batch:
    """Sequences of one batch.

    Attributes:
        index: of the batch.
        small: what the smaller layer reads beside weights.
        whole: the steps of the dense layer.
        own: the steps of the smaller layer, as the dense one would have it take them: hidden states that stay.
    """

    index: int
    small: NodeInputs
    whole: StepRows
    own: StepRows


class RecurrentVisit:
    """A recurrent layer: what it reads in both nets, and all its hidden states in the dense one."""

    def __init__(self, layer: RecurrentPair, model: ir.Model, kept: Kept, fitting: Fitting, *, symmetric: bool) -> None:
        self._layer, self._model, self._kept, self._symmetric = layer, model, kept, symmetric
        self._fitting = fitting
        self._sequences = Sequences.of(layer.node)
        self._small, self._whole = GateWeights.of(layer.node), GateWeights.of(layer.dense)
        self._batches: list[_Batch] = []
        self._y = layer.states()
        self.node = layer.name
        self.dense = {self._y, *computed(layer.dense)}
        self.probes = set[str]()
        self.pruned = set() if symmetric else computed(layer.node)
        self.reason: str | None = None
        """Why the layer cannot be repaired, once that is known."""

    def feed(self, batch: int, dense: RunValues, pruned: RunValues) -> None:
        """Keeps as many sequences as the fits, or the verdict, need steps."""
        try:
            if self.reason is None:
                self._take(batch, dense, pruned)
        except Unrepairable as reason:
            self.reason = str(reason)

    def _take(self, batch: int, dense: RunValues, pruned: RunValues) -> None:
        _, split, options = self._fitting
        layer, keep = self._layer, self._keep
        whole = read_beside_weights(layer.dense, dense)
        if not self._symmetric:
            small = read_beside_weights(layer.node, pruned)
        else:
            small = {k: self._kept(str(input_of(layer.dense, k).name), array) for k, array in whole.items()}
        # One more for the bias.
        rows = options.rows_for(layer.sizes[1] + 1) / (split.batches - split.held)
        if split.judges(batch):
            rows = max(rows, options.held_rows / max(split.held, 1))
        given, _ = self._sequences.first(rows, small, dense[self._y])
        steps = self._sequences.rows(*self._sequences.first(rows, whole, dense[self._y]))
        # Where all sequences are empty.
        if not len(steps.x):
            return
        before, after = (_units(states, keep) for states in (steps.before, steps.after))
        own = StepRows(self._sequences.inputs(given), before, after)
        self._batches.append(_Batch(batch, given, steps, own))

    @cached_property
    def _keep(self) -> Pick:
        """Hidden units of the dense layer that stay: int64[directions, hidden]."""
        places = np.arange(self._whole.r.size).reshape(self._whole.r.shape)
        found = self._kept(str(input_of(self._layer.dense, R).name), places)
        if found.shape != self._small.r.shape:
            raise Unrepairable("its hidden units are not those that the cut left")
        return np.asarray(found[:, 0] % self._whole.hidden, np.int64)

    def finish(self) -> list[LayerRepair]:
        """Writes the fitted weights where the layer as a whole is then nearer to the dense one."""
        split = self._fitting[1]
        if not all(any(sees(batch.index) for batch in self._batches) for sees in (split.fits, split.judges)):
            self.reason = self.reason or "no step of its sequences is left to fit or to judge"
        if self.reason is not None:
            return []
        given = self._small.given(self._layer.node, self._batches[0].small)
        rollout = Rollout(self._layer.node, self._model, given, self._fitting[2].provider)
        before = after = self._error(rollout, self._small)
        new = best = self._small
        read = [(batch, batch.own) for batch in self._batches]
        for number in range(GATE_FITS):
            if number:
                read += [(batch, self._steps(rollout, new, batch)) for batch in self._batches]
            new = self._fitted(new, read)
            error = self._error(rollout, new)
            if error < after:
                best, after = new, error
        changed = best is not self._small
        if changed:
            best.put(self._layer.node)
        return [LayerRepair(self.node, before, after, changed, None if changed else UNCHANGED)]

    def _fitted(self, weights: GateWeights, read: Sequence[tuple[_Batch, StepRows]]) -> GateWeights:
        """``weights`` fitted anew to all steps ``read``, each with its batch."""
        new = weights.copy()
        for number, product in enumerate(self._layer.products):
            for direction in range(len(self._keep)):
                layer = _gemm(f"{self.node}.{number}.{direction}", *weights.read(direction, product))
                task = WeightTask([layer], *self._fitting)
                for batch, steps in read:
                    factor, targets = self._targets[number, direction, batch.index]
                    rows = product.operands(steps.x, steps.before[direction] * factor)
                    task.feed(0, batch.index, (rows, targets, None), lambda _, array: array)
                task.finish()
                new.write(direction, product, *(constant_array(input_of(layer.node, k)) for k in (1, 2)))
        return new

    @cached_property
    def _targets(self) -> dict[tuple[int, int, int], tuple[Matrix, Matrix]]:
        """What :meth:`_dense` gives of the units that stay, by product, direction and batch; the same in all rounds."""
        found = {}
        for number, product in enumerate(self._layer.products):
            for direction, keep in enumerate(self._keep):
                for batch in self._batches:
                    factor, made = self._dense(batch.whole, direction, product)
                    kept = made.reshape(len(made), len(product.gates), -1)[:, :, keep]
                    found[number, direction, batch.index] = factor[:, keep], kept.reshape(len(made), -1)
        return found

    def _dense(self, steps: StepRows, direction: int, product: GateProduct) -> tuple[Matrix, Matrix]:
        """What multiplies the hidden states that a product of the dense layer reads, and what the product gives."""
        before = as_float64(steps.before[direction])
        factor = np.ones_like(before)
        if product.reset is not None:
            _, gate = self._dense(steps, direction, GateProduct((product.reset,)))
            factor = 1 / (1 + np.exp(-gate))
        matrix, bias = (as_float64(part) for part in self._whole.read(direction, product))
        return factor, as_float64(product.operands(steps.x, before * factor)) @ matrix.T + bias

    def _steps(self, rollout: Rollout, weights: GateWeights, batch: _Batch) -> StepRows:
        """The steps of the smaller layer with these weights."""
        return self._sequences.rows(batch.small, rollout(weights.given(self._layer.node, batch.small)))

    def _error(self, rollout: Rollout, weights: GateWeights) -> float:
        """Root of the squared error of the hidden states over their squared spread, on the batches that judge."""
        held = [batch for batch in self._batches if self._fitting[1].judges(batch.index)]
        pairs = [(batch.own.after, self._steps(rollout, weights, batch).after) for batch in held]
        wanted, made = (as_float64(np.concatenate(part, axis=1)) for part in zip(*pairs, strict=True))
        spread = float(np.square(wanted - wanted.mean(axis=1, keepdims=True)).sum())
        return float(np.sqrt(np.square(wanted - made).sum() / (spread or 1.0)))


def _units(states: Array, keep: Pick) -> Array:
    """Of states [directions, steps, hidden] the units [directions, kept] of each direction."""
    return np.take_along_axis(states, keep[:, None], axis=2)


def _gemm(name: str, matrix: Array, bias: Array) -> LayerPair:
    """A layer that has this weight [out, unknowns] and bias [out], alone in a graph."""
    graph = ir.Graph([], [], nodes=[], name=name)
    weight = add_constant(graph, "weight", matrix)
    node = ir.node("Gemm", [ir.Value(name="x"), weight, add_constant(graph, "bias", bias)], {"transB": 1}, name=name)
    graph.append(node)
    held, kind = ReadWeight(weight, None), layer_kind(node)
    assert kind is not None
    return LayerPair(node, node, 1, held, held, kind)
