"""What a model costs: multiply-accumulates, parameters, bytes of weights; whole, or after a cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.labels import Term, UnitArray
from compressor.channels.verify import rule_errors
from compressor.errors import RuleFault
from compressor.graph.ir.captures import has_graph, nodes_inside, values_of
from compressor.graph.sizes.shapes import Shapes
from compressor.operators import quantization_grid
from compressor.operators.signature import Shape
from compressor.operators.table import known, operator_of

PASS_MACS = 250e9
"""Multiply-accumulates of one forward pass over all samples, at most, where nobody said how many samples: some tens of
seconds with the backward pass."""
LEAST_SAMPLES = 32
"""Samples that are read however large a model is; of fewer, statistics say nothing."""


def affordable_samples(macs: float, budget: float = PASS_MACS) -> int:
    """How many samples of so many multiply-accumulates fit into a budget of them; :data:`LEAST_SAMPLES` at least."""
    return max(LEAST_SAMPLES, int(budget / max(macs, 1.0)))


def graph_macs(nodes: Iterable[ir.Node], shape: Callable[[ir.Value], Shape | None]) -> int:
    """Multiply-accumulates of one run: products of convolutions, matrix products, recurrent layers, attention.

    Bodies of control flow count once each, since how often they run is only known when they do: one iteration of a
    loop, and every branch.
    """
    return sum(_macs_of(each, shape) or 0 for node in nodes for each in (node, *nodes_inside(node)))


def macs_per_sample(nodes: Iterable[ir.Node], shapes: Shapes) -> int:
    """Multiply-accumulates of one run over the samples in it; of the whole run where their number is fixed.

    What is computed once for all samples counts by its share, so that costs of two models stay comparable.
    """
    return round(graph_macs(nodes, shapes.costed) / shapes.batch)


def _itemsize(value: ir.Value) -> float:
    """Bytes of an entry; of texts, which are of different lengths, none."""
    tensor = value.const_value
    return 0.0 if tensor is None or tensor.dtype == ir.DataType.STRING else float(tensor.dtype.itemsize)


def uncounted(nodes: Iterable[ir.Node], shapes: Shapes) -> list[ir.Node]:
    """Nodes whose multiply-accumulates are not known: no record has them, or a shape is missing."""
    every = [each for node in nodes for each in (node, *nodes_inside(node))]
    return [node for node in every if not has_graph(node) and _macs_of(node, shapes) is None]


def in_bodies(nodes: Iterable[ir.Node], shapes: Shapes) -> int:
    """Multiply-accumulates of bodies of control flow, each counted once; see :func:`graph_macs`."""
    return sum(_macs_of(each, shapes.costed) or 0 for node in nodes for each in nodes_inside(node))


def _macs_of(node: ir.Node, shape: Callable[[ir.Value], Shape | None]) -> int | None:
    """Multiply-accumulates of a node; None where no record has them, or a shape is missing or does not fit."""
    operator = operator_of(node)
    if not operator.multiplies:
        return 0 if known(node) else None
    inputs = [None if v is None else shape(v) for v in node.inputs]
    # A missing shape differs from an input that is not there, which has none either.
    if any(s is None for v, s in zip(node.inputs, inputs, strict=True) if v is not None):
        return None
    try:
        with rule_errors(node):
            return operator.macs(node, inputs, [shape(v) for v in node.outputs])
    except (Unexplained, RuleFault):
        return None  # frozen by the coupling; ONNX Runtime says what is wrong with it


def graph_params(graph: ir.Graph) -> int:
    """Parameters in all initializers, as :func:`compressor.operators.quantization_grid.reals_each` counts them."""
    return quantization_grid.weight_elements(graph.initializers.values())


class CostModel:
    """Fast estimates of what is left when units go, for the search of a budget.

    Only values with labels change; the cost of the rest is counted once.
    """

    def __init__(self, coupling: Coupling) -> None:
        self._coupling = coupling
        graph = coupling.graph
        self._terms = {}
        # np.unique over large terms is most of the time of this constructor.
        counted: dict[int, tuple[Term[int], tuple[UnitArray, UnitArray]]] = {}  # by term: values share them
        for value in values_of(graph):
            # Without settling: counting must not give units to axes that nobody spoke for, which would change the
            # coupling.
            terms = coupling.layout(value, assign_fresh=False)
            if terms:
                for term in terms:
                    if id(term) not in counted:
                        counted[id(term)] = term, np.unique(term.units, return_counts=True)
                self._terms[value] = [(t.axes, counted[id(t)][1], t.units.size) for t in terms]
        self._nodes = [n for n in graph.all_nodes() if operator_of(n).multiplies]
        self._blocks = coupling.blocks
        self.macs = self.macs_after(np.zeros(0, np.int64))
        self.params = self.params_after(np.zeros(0, np.int64))

    def macs_after(self, removed: UnitArray) -> int:
        """Multiply-accumulates once ``removed`` units are gone."""
        gone = self._gone(removed)
        without = {node for block in self._blocks if gone[block.unit] for node in block.nodes}
        left = (node for node in self._nodes if node not in without)
        return sum(_macs_of(node, lambda v: self._shape(v, gone)) or 0 for node in left)

    def params_after(self, removed: UnitArray) -> int:
        """Parameters that are left, once ``removed`` units are gone."""
        return self._weights(removed, quantization_grid.reals_each)

    def bytes_after(self, removed: UnitArray) -> int:
        """Bytes of all weights once ``removed`` units are gone."""
        return self._weights(removed, _itemsize)

    def _weights(self, removed: UnitArray, each: Callable[[ir.Value], float]) -> int:
        gone = self._gone(removed)
        without = {value for block in self._blocks if gone[block.unit] for value in block.weights}
        total = 0.0
        for value in self._coupling.graph.initializers.values():
            tensor = value.const_value
            if tensor is None or value in without:
                continue
            shape = self._shape(value, gone)
            total += each(value) * (prod(shape) if shape is not None else tensor.size)
        return round(total)

    def _gone(self, removed: UnitArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        gone = np.zeros(len(self._coupling.units), np.bool_)
        gone[removed] = True
        return gone

    def _shape(self, value: ir.Value, gone: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Shape | None:
        shape = self._coupling.shapes.costed(value)
        if shape is None or value not in self._terms:
            return shape
        out = list(shape)
        for axes, (units, counts), size in self._terms[value]:
            # Of a joint term every row keeps the same count, so the share comes off the ragged axis alone. An axis is
            # never emptied, whatever the estimate says.
            left = 1.0 - counts[gone[units]].sum() / size
            out[axes[-1]] = max(1, round(out[axes[-1]] * left))
        return tuple(out)
