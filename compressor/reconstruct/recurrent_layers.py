"""Which recurrent layers a recovery repairs, and their weights, read and written gate by gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.captures import nodes_by_name
from compressor.graph.ir.edit import constant_array, free_name
from compressor.graph.ir.nodes import input_of, optional_input, twin_of
from compressor.operators.facts import GateProduct
from compressor.operators.recurrence import CONSTANTS, B, R, W
from compressor.operators.table import operator_of
from compressor.reconstruct.biases import put_constant
from compressor.reconstruct.form import Pick, Unrepairable, as_float64
from compressor.reconstruct.rollout import NodeInputs
from compressor.reconstruct.weights import REPLACEABLE, may_be_replaced, readers


@dataclass(frozen=True)
class RecurrentPair:
    """A recurrent node of the smaller model, and the same node of the dense one.

    Attributes:
        node: in the smaller model.
        dense: in the dense model.
    """

    node: ir.Node
    dense: ir.Node

    @property
    def name(self) -> str:
        """What reports call the layer: the name of its node."""
        return str(self.node.name)

    @property
    def sizes(self) -> tuple[int, int]:
        """Matrices that are fitted, and what the widest of them reads."""
        w, r = (_weight(self.node, k).shape for k in (W, R))
        return w[0] * len(self.products), w[2] + r[2]

    def states(self) -> str:
        """Name of all hidden states in the dense model; they get one where nobody reads them."""
        states, graph = self.dense.outputs[0], self.dense.graph
        assert graph is not None
        states.name = states.name or free_name(graph, f"{self.dense.name}.states")
        return states.name

    @property
    def products(self) -> Sequence[GateProduct]:
        """The gates, by what they are linear in."""
        made = operator_of(self.node).products
        assert made is not None
        return made(self.node)


@dataclass(frozen=True)
class GateWeights:
    """The weights of a recurrent node.

    Attributes:
        w: [directions, gates * hidden, input].
        r: [directions, gates * hidden, hidden].
        b: [directions, 2 * gates * hidden], what is added to the product with ``w``, then to that with ``r``.
    """

    w: Array
    r: Array
    b: Array

    @staticmethod
    def of(node: ir.Node) -> GateWeights:
        """Copies of those that ``node`` has; zero for a bias that it lacks."""
        w, r = (_weight(node, k).copy() for k in (W, R))
        held = optional_input(node, B)
        b = np.zeros((len(w), 2 * w.shape[1]), w.dtype) if held is None else constant_array(held).copy()
        return GateWeights(w, r, b)

    def copy(self) -> GateWeights:
        """The same numbers in arrays of their own."""
        return GateWeights(self.w.copy(), self.r.copy(), self.b.copy())

    def given(self, node: ir.Node, inputs: NodeInputs) -> NodeInputs:
        """All that ``node`` reads where it has these weights, by the number of the input."""
        fixed = {W: self.w, R: self.r, B: self.b}
        others = {k: constant_array(v) for k, v in _inputs(node) if k in CONSTANTS and k not in fixed}
        return {**inputs, **others, **fixed}

    @property
    def hidden(self) -> int:
        """Hidden units of a direction."""
        return int(self.r.shape[2])

    def rows(self, product: GateProduct) -> Pick:
        """Rows of the gates of a product, in ``w`` and ``r``."""
        return np.concatenate([np.arange(self.hidden) + gate * self.hidden for gate in product.gates])

    def read(self, direction: int, product: GateProduct) -> tuple[Array, Array]:
        """Matrix [rows, unknowns] and bias [rows] of a product; of the unknowns the input comes first."""
        rows, half = self.rows(product), self.w.shape[1]
        parts = self._parts(direction, product)
        matrix = np.concatenate([part[rows] for part, _ in parts], axis=1)
        return matrix, np.sum([self.b[direction, rows + half * k] for _, k in parts], axis=0)

    def write(self, direction: int, product: GateProduct, matrix: Array, bias: Array) -> None:
        """The inverse of :meth:`read`; of two biases that are added, the first takes the change."""
        rows, half, column = self.rows(product), self.w.shape[1], 0
        parts = self._parts(direction, product)
        change = as_float64(bias) - as_float64(self.read(direction, product)[1])
        self.b[direction, rows + half * parts[0][1]] += change.astype(self.b.dtype)
        for part, _ in parts:
            part[rows] = matrix[:, column : column + part.shape[1]]
            column += part.shape[1]

    def _parts(self, direction: int, product: GateProduct) -> list[tuple[Array, int]]:
        """Weights that a product reads, and which half of the biases is added to each."""
        both = ((self.w[direction], product.reads_input), (self.r[direction], product.reads_state))
        return [(part, k) for k, (part, read) in enumerate(both) if read]

    def put(self, node: ir.Node) -> None:
        """Gives them to ``node``."""
        for index, array in ((W, self.w), (R, self.r), (B, self.b)):
            put_constant(node, index, array)


def computed(node: ir.Node) -> set[str]:
    """Names of the values that a recurrent node reads and that are no constants."""
    return {str(v.name) for _, v in _inputs(node) if not v.is_initializer()}


def read_beside_weights(node: ir.Node, values: Mapping[str, Array]) -> dict[int, Array]:
    """What a recurrent node reads beside its weights, by the number of the input; ``values`` holds what is computed."""
    of = {k: v for k, v in _inputs(node) if k not in CONSTANTS}
    return {k: constant_array(v) if v.is_initializer() else values[str(v.name)] for k, v in of.items()}


def _weight(node: ir.Node, index: int) -> Array:
    """A weight that every recurrent node has."""
    return constant_array(input_of(node, index))


def _inputs(node: ir.Node) -> list[tuple[int, ir.Value]]:
    return [(k, v) for k, v in enumerate(node.inputs) if v is not None]


def recurrent_layers(
    pruned: ir.Model, original: ir.Model, wrong: set[str], *, written: bool = True
) -> tuple[list[RecurrentPair], dict[str, str]]:
    """Recurrent layers that read or give one of the values ``wrong``, and node -> why others cannot be repaired.

    ``written`` as in :func:`compressor.reconstruct.layers.repairable_layers`.

    A recurrent layer reads its own output, one step later.
    """
    dense = nodes_by_name(original.graph)
    layers: list[RecurrentPair] = []
    skipped: dict[str, str] = {}
    for node in pruned.graph:
        if operator_of(node).products is None:
            continue
        if not any(v is not None and str(v.name) in wrong for v in (*node.inputs, *node.outputs)):
            continue
        try:
            pair = _pair(node, twin_of(node, dense))
            if written and may_be_replaced(optional_input(node, index) for index in CONSTANTS):
                raise Unrepairable(REPLACEABLE)
            layers.append(pair)
        except Unrepairable as reason:
            skipped[str(node.name)] = str(reason)
    return layers, skipped


def _pair(node: ir.Node, dense: ir.Node | None) -> RecurrentPair:
    if dense is None:
        raise Unrepairable("the dense model has no such node")
    for one in (node, dense):
        for index in CONSTANTS:
            _check(one, index)
    for index in (W, R):
        # What is fitted to one node's steps is wrong for those of another.
        if others := readers(input_of(node, index)) - {(str(node.name), index)}:
            raise Unrepairable(f"node {min(others)[0]!r} reads its weight too")
    return RecurrentPair(node, dense)


def _check(node: ir.Node, index: int) -> None:
    value = optional_input(node, index)
    if value is None:
        return
    if not value.is_initializer() or value.const_value is None:
        raise Unrepairable("its weights are computed")
    if not value.const_value.dtype.is_floating_point():
        raise Unrepairable("its weight is quantised")
