"""What recovery in closed form takes, so that only what ends in seconds is begun without being asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.core.machine import cores
from compressor.graph.ir.nodes import input_of
from compressor.graph.sizes.shapes import Shapes
from compressor.graph.tensors.weights import weight_bytes
from compressor.operators.table import operator_of
from compressor.pruning.budgets.cost import macs_per_sample

if TYPE_CHECKING:
    from compressor.reconstruct import ReconstructOptions

RUNNING, SOLVING = 80e9, 20e9
"""Floating-point operations that a core does in a second, about: in layers that run, and in systems that are solved."""
MOVING = 2e9
"""Bytes of what layers compute that a core brings from one layer to the next in a second, about."""
BASE = 2e9
"""Bytes that a run takes besides weights and systems, about."""
WEIGHTS_HELD, MATRICES_HELD = 5.0, 5
"""Copies that are in memory at a time, as runs were measured to hold, about: of all weights, and of the widest layer's
system, float64[unknowns, unknowns]."""
PASSES_OVER_SAMPLES, PASSES_FOR_LOSSES = 2, 6
"""Passes over the samples, about: both nets; with losses also forward and backward for the gradients, twice."""


@dataclass(frozen=True)
class Effort:
    """What one way to recover takes.

    Attributes:
        seconds: on the cores of this machine, about.
        memory: bytes, about.
    """

    seconds: float
    memory: float


@dataclass(frozen=True)
class LayerSize:
    """A layer: unknowns of one output, matrices, and rows of one sample."""

    unknowns: int
    groups: int
    rows: float


@dataclass(frozen=True)
class RecoveryWork:
    """What there is to do, from which follows what it takes.

    Attributes:
        layers: those that recovery rebuilds.
        macs: multiply-accumulates of one sample.
        weights: bytes of the weights.
        held: bytes of all that layers compute on one sample, as float32.
    """

    layers: Sequence[LayerSize]
    macs: float
    weights: float
    held: float

    @staticmethod
    def of(model: ir.Model, shapes: Shapes) -> RecoveryWork:
        """Of a model in normal form, at the shapes that samples have."""
        shaped = (shapes(value) for node in model.graph for value in node.outputs)
        held = 4.0 * sum(prod(shape) for shape in shaped if shape is not None) / max(shapes.batch, 1)
        macs = macs_per_sample(model.graph, shapes)
        return RecoveryWork(_layers(model, shapes), macs, weight_bytes(model), held)

    @property
    def samples(self) -> int:
        """Samples that give the widest layer its rows."""
        each = _drawn().rows_per_unknown
        return max(ceil(each * layer.unknowns / max(layer.rows, 1.0)) for layer in self.layers)

    @property
    def positions(self) -> float:
        """Rows that a sample gives the layer to which it gives fewest: 1 where features of the whole meet a matrix."""
        return min(layer.rows for layer in self.layers)

    def effort(self, samples: int, *, losses: bool) -> Effort:
        """What it takes from so many samples.

        Args:
            samples: how many.
            losses: widths follow what outputs lose (:mod:`compressor.allocation`); otherwise they are given.
        """
        passes = samples * (PASSES_FOR_LOSSES if losses else PASSES_OVER_SAMPLES)
        # Two operations for each multiply-accumulate; and large images with few channels wait for memory instead.
        running = passes * (2.0 * self.macs / RUNNING + self.held / MOVING)
        solving = sum(layer.groups * _solving(layer, samples, losses=losses) for layer in self.layers)
        widest = max(layer.groups * layer.unknowns**2 for layer in self.layers)
        seconds = (running + solving / SOLVING) / cores()
        return Effort(seconds, WEIGHTS_HELD * self.weights + 8.0 * MATRICES_HELD * widest + BASE)


def _drawn() -> ReconstructOptions:
    """How many rows least squares draws."""
    from compressor.reconstruct.options import ReconstructOptions

    return ReconstructOptions()


def _solving(layer: LayerSize, samples: int, *, losses: bool) -> float:
    """Operations of one matrix: its covariance and factor, and for losses an inverse and the removal of its columns."""
    unknowns = layer.unknowns
    # Never more than the samples have.
    rows = min(_drawn().rows_for(unknowns), layer.rows * samples)
    # The system is one of rows where these are fewer.
    smaller = min(rows, unknowns)
    fitted = 2.0 * rows * unknowns * smaller + smaller**3
    # Half of the rows adjust, the other half judge.
    return fitted + (2.0 * unknowns**2 * min(rows / 2, unknowns) + unknowns**3 if losses else 0.0)


def _layers(model: ir.Model, shapes: Shapes) -> list[LayerSize]:
    """The layers that recovery rebuilds, at the bound shapes."""
    from compressor.reconstruct.form import Unrepairable
    from compressor.reconstruct.layers import repairable_layers
    from compressor.reconstruct.recurrent import GATE_FITS
    from compressor.reconstruct.recurrent_layers import recurrent_layers

    values = {str(v.name) for v in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs))}
    layers = []
    for layer in repairable_layers(model, model, values, written=False)[0]:
        x, y = shapes(input_of(layer.node, 1 - layer.held)), shapes(layer.node.outputs[0])
        if x is None or y is None or not operator_of(layer.node).linear:
            continue
        weight = layer.weight.read()
        try:
            form = layer.form((x, weight.shape, y))
            groups, _, unknowns = form.sizes
        except Unrepairable:
            continue  # recovery leaves it alone, and says why
        layers.append(LayerSize(unknowns, groups, form.count(y) / max(shapes.batch, 1)))
    for recurrent in recurrent_layers(model, model, values, written=False)[0]:
        x = shapes(input_of(recurrent.node, 0))
        if x is not None:
            matrices, unknowns = recurrent.sizes
            # A row for each step; each round fits all matrices anew.
            layers.append(LayerSize(unknowns, matrices * GATE_FITS, prod(x[:-1]) / max(shapes.batch, 1)))
    return layers
