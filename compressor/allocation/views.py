"""Which matrices read which channels: every group of a linear operator, its columns labelled with units.

A linear operator is a matrix over rows (:mod:`compressor.reconstruct.form`): a convolution one for each group of
filters, a product with a weight one, whatever side the weight is on. A column meets one place of the input, a channel
and a tap, so what the coupling says of the input says which columns go with a unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup, slots_of
from compressor.channels.labels import UnitArray
from compressor.operators.table import operator_of
from compressor.pruning.readers import gates
from compressor.reconstruct.form import Matrix, OperandForm, Shape, Unrepairable
from compressor.reconstruct.layers import LayerPair, repairable_layers

SEEN = 256
"""Rows of an input that are looked at for the units of columns; a tap that is padding in one is none in another."""


@dataclass(frozen=True, eq=False)
class LinearView:
    """A linear layer as matrices.

    Attributes:
        layer: the node and its weight.
        form: how it reads operands, at the bound shapes.
        matrix: float64[groups, out, unknowns], the weight.
        units: int64[groups, unknowns], the unit that each column goes with; 0 for none.
        shapes: of input and output, as bound.
    """

    layer: LayerPair
    form: OperandForm
    matrix: Matrix
    units: UnitArray
    shapes: tuple[Shape, Shape]

    @property
    def inputs(self) -> int:
        """Columns of one matrix."""
        return int(self.matrix.shape[2])


def views(model: ir.Model, coupling: Coupling) -> list[LinearView]:
    """The linear layers that read units, in the order of the graph.

    Where the output of a matrix goes with the unit that all its columns go with (a depthwise convolution), nothing is
    lost with them: such columns are labelled 0.
    """
    found = []
    for layer in linear_layers(model)[0]:
        try:
            found.append(view_of(layer, coupling))
        except Unrepairable:
            continue  # recovery leaves it alone, so that nothing is known of what it loses
    return [view for view in found if view.units.any()]


def linear_layers(model: ir.Model) -> tuple[list[LayerPair], dict[str, str]]:
    """All linear layers with a weight of their own, in the order of the graph, and node -> why others are none."""
    values = {str(v.name) for node in model.graph for v in node.outputs} | {str(v.name) for v in model.graph.inputs}
    layers, skipped = repairable_layers(model, model, values, written=False)
    return [layer for layer in layers if operator_of(layer.node).linear], skipped


def view_of(layer: LayerPair, coupling: Coupling) -> LinearView:
    """The layer as matrices.

    Raises:
        Unrepairable: a shape is not known, its weight is not finite, or recovery does not read it.
    """
    x, y = layer.node.inputs[1 - layer.held], layer.node.outputs[0]
    weight = layer.weight.read()
    shapes = (coupling.shapes(x) if x is not None else None, coupling.shapes(y))
    if x is None or shapes[0] is None or shapes[1] is None:
        raise Unrepairable("its sizes are not known")
    # The same form that recovery uses: what it cannot read it does not rebuild, and then nothing is known of the loss.
    form = layer.form((shapes[0], weight.shape, shapes[1]))
    matrix = form.matrix(weight)
    if not np.isfinite(matrix).all():
        raise Unrepairable("its weight holds what is no finite number")
    count = form.count(shapes[1])
    # Spread over all rows, so that the middle is seen as well as the edges, where taps meet padding.
    pick = np.unique(np.linspace(0, count - 1, min(count, SEEN)).astype(np.int64))
    # Units take the place of numbers in the input, and come out in the columns that the numbers would have met.
    columns = _labels(form.rows(_spread(coupling, x, shapes[0]), shapes[1], pick))
    outs = _labels(form.targets(_spread(coupling, y, shapes[1]), pick))
    alone = (columns == columns[:, :1]).all(axis=1) & (outs == outs[:, :1]).all(axis=1) & (columns[:, 0] == outs[:, 0])
    columns[alone] = 0
    return LinearView(layer, form, matrix, columns, (shapes[0], shapes[1]))


def _spread(coupling: Coupling, value: ir.Value, shape: Sequence[int]) -> UnitArray:
    """The unit of every entry of ``value``: int64 of ``shape``, 0 where there is none."""
    found = np.zeros(tuple(shape), np.int64)
    for term in coupling.layout(value, assign_fresh=False):
        index = tuple(slice(None) if axis in term.axes else None for axis in range(len(shape)))
        units = coupling.units.find(term.units)
        # Terms of one value lie over disjoint axes; the first that names a unit counts.
        found = np.where(found == 0, units[index], found)
    return found


def _labels(rows: Matrix) -> UnitArray:
    """Of each column the one unit that all rows see there, next to padding; 0 where they differ.

    From float64[groups, rows, columns], which holds units, to int64[groups, columns].
    """
    labels = rows.max(axis=1)
    return np.where(((rows == labels[:, None]) | (rows == 0)).all(axis=1), labels, 0).astype(np.int64)


def covered(coupling: Coupling, groups: Sequence[ChannelGroup], found: Sequence[LinearView]) -> set[str]:
    """Names of the groups of which every reader of every unit is in ``found``."""
    weights = {view.layer.weight.initializer: view for view in found}
    # A unit is open if any reader of it is no matrix, or has no column for it.
    open_units = np.zeros(len(coupling.units), np.bool_)
    for slot, units in gates(coupling, slots_of(coupling)):
        view = weights.get(slot.value)
        mine = np.unique(units[units > 0])
        if slot.role != "in" or view is None:
            open_units[mine] = True
        else:
            open_units[np.setdiff1d(mine, view.units)] = True
    # No weight holds residual blocks, so that no layer reads them either.
    return {group.name for group in groups if group.slots and not open_units[group.units].any()}
