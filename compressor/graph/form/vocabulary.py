"""A vocabulary of fewer tokens: rows of token tables, and outputs of the layer that scores tokens, for those that stay.

With kept tokens t_0 < t_1 < ... token t_k becomes token k. Tables keep these rows, and the layer whose result is the
scores keeps these outputs: E'[k] = E[t_k], (x W')[k] = (x W)[t_k]. Whatever else reads token numbers gets the old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.errors import ModelError, UsageError
from compressor.graph.ir.edit import add_constant
from compressor.graph.ir.elementwise import BROADCASTS, UNARY
from compressor.graph.ir.movement import JOINS, MOVES
from compressor.graph.ir.nodes import is_standard
from compressor.graph.sizes.shapes import Shapes
from compressor.graph.tensors.weights import DerivedTensor, KeptEntries

Tokens = npt.NDArray[np.int64]
TABLE_RANK = 2


class NumberedAnew(NamedTuple):
    """Where numbers of tokens are met outside of a model.

    Attributes:
        inputs: names of those that hold numbers of tokens.
        outputs: names of those whose last axis has an entry for each token.
    """

    inputs: list[str]
    outputs: list[str]


def keep_tokens(model: ir.Model, shapes: Shapes, tokens: Sequence[int]) -> NumberedAnew:
    """Makes of a model one that knows some of its tokens alone, numbered anew.

    Args:
        model: in normal form; changed in place.
        shapes: of the model.
        tokens: the old numbers of those that stay, in any order.

    Returns:
        The inputs and outputs that have other numbers now.

    Raises:
        UsageError: the model has no token table, or no such tokens.
        ModelError: scores of tokens are made in a way that is not followed.
    """
    tables = _tables(model.graph)
    if not tables:
        raise UsageError("--keep-tokens finds no token table: no input of whole numbers picks rows of a weight")
    size = max(_rows(table.inputs[0]) for table in tables)
    # The largest is the vocabulary; smaller ones hold positions or kinds of tokens, which keep their numbers. A table
    # of positions may happen to be as large, which nothing but its input's name tells apart.
    tables = [table for table in tables if _rows(table.inputs[0]) == size]
    tables = [table for table in tables if not any("position" in name for name in _inputs_of([table]))] or tables
    kept = _checked(tokens, size)
    change = _Change(model.graph, shapes, kept, size)
    change.tables(tables)
    scores = [v for v in model.graph.outputs if (s := shapes(v)) and s[-1] == size and not shapes.dynamic(v)[-1]]
    for value in scores:
        change.scores(value)
    change.finish()
    return NumberedAnew(_inputs_of(tables), [str(value.name) for value in scores])


def _checked(tokens: Sequence[int], size: int) -> Tokens:
    kept = np.unique(np.asarray(tokens, np.int64))
    if not kept.size:
        raise UsageError("--keep-tokens names no token; give the number of one at least")
    if kept[0] < 0 or kept[-1] >= size:
        wrong = kept[0] if kept[0] < 0 else kept[-1]
        raise UsageError(f"--keep-tokens names token {wrong}, and the model has tokens 0 to {size - 1}")
    return kept


def _tables(graph: ir.Graph) -> list[ir.Node]:
    """Nodes that pick rows of a weight by numbers that an input of the model holds."""
    return [
        node
        for node in graph
        if node.op_type == "Gather"
        and is_standard(node)
        and node.attributes.get_int("axis", 0) == 0
        and node.inputs[0] is not None
        and node.inputs[0].is_initializer()
        and len(node.inputs[0].const_value.shape if node.inputs[0].const_value is not None else ()) == TABLE_RANK
        and _origin(node.inputs[1]) is not None
    ]


def _rows(value: ir.Value | None) -> int:
    assert value is not None
    assert value.const_value is not None
    return int(value.const_value.shape.numpy()[0])


def _origin(value: ir.Value | None) -> ir.Value | None:
    """The input of the model whose numbers ``value`` holds, moved at most."""
    while value is not None and (node := value.producer()) is not None:
        if not _moves(node):
            return None
        value = node.inputs[0]
    return value if value is not None and value.is_graph_input() and not value.is_initializer() else None


def _moves(node: ir.Node) -> bool:
    """Does it move entries of its first input, and join nothing to them that is numbered in the old way?"""
    return is_standard(node) and node.op_type in MOVES - JOINS


def _inputs_of(tables: Sequence[ir.Node]) -> list[str]:
    return list(dict.fromkeys(str(v.name) for table in tables if (v := _origin(table.inputs[1])) is not None))


def _old_numbers(graph: ir.Graph, value: ir.Value, kept: Tokens, dtype: ir.DataType | None) -> ir.Value:
    table = add_constant(graph, f"{value.name}.tokens", kept.astype(np.int64 if dtype is None else dtype.numpy()))
    node = ir.node("Gather", [table, value], attributes={"axis": 0}, name=f"{value.name}.old")
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = f"{node.name}.out", value.type, value.shape
    maker = value.producer()
    if maker is None:
        next(iter(graph)).prepend(node)
    else:
        maker.append(node)
    return node.outputs[0]


@dataclass
class _Change:
    """Cuts tokens out of a graph, in place; ``known`` collects who may read what is cut."""

    graph: ir.Graph
    shapes: Shapes
    kept: Tokens
    size: int
    known: set[tuple[ir.Node, int]] = field(default_factory=set)
    cut: dict[ir.Value, int] = field(default_factory=dict)
    narrowed: dict[ir.Value, None] = field(default_factory=dict)

    def tables(self, tables: Sequence[ir.Node]) -> None:
        """Rows of the tables; other readers of their inputs get old numbers."""
        for table in tables:
            self._slice(table.inputs[0], 0, table, 0)
        for value in [v for v in self.graph.inputs if str(v.name) in _inputs_of(tables)]:
            self._restore(value, set(tables))

    def _restore(self, value: ir.Value, tables: set[ir.Node]) -> None:
        """Gives old numbers to whoever reads ``value`` other than to pick rows of tables, behind moves at most."""
        if value.is_graph_output():
            raise ModelError(
                f"--keep-tokens: output {value.name!r} hands out numbers of tokens, which would be new ones; leave it "
                "out"
            )
        others = []
        for node, index in value.uses():
            dtype = self.shapes.dtype(node.outputs[0])
            # Exchanging numbers and moving them may change places, as long as they stay numbers that can pick.
            if _moves(node) and index == 0 and dtype in (ir.DataType.INT32, ir.DataType.INT64):
                for moved in node.outputs:
                    self._restore(moved, tables)
            elif node not in tables or index != 1:
                others.append((node, index))
        if others:
            old = _old_numbers(self.graph, value, self.kept, self.shapes.dtype(value))
            for node, index in others:
                node.replace_input_with(index, old)

    def scores(self, value: ir.Value) -> None:
        """Follows scores back to the layer that makes them, and cuts its outputs."""
        if value in self.narrowed:
            return
        self.narrowed[value] = None
        node = value.producer()
        follow = None if node is None or not is_standard(node) else _MAKERS_OF_SCORES.get(node.op_type)
        if node is None or follow is None:
            raise self._lost(value, node)
        follow(self, node)

    def finish(self) -> None:
        """Sizes, once all is cut; and nobody else may read what was.

        Raises:
            ModelError: somebody does.
        """
        for value in [*self.cut, *self.narrowed]:
            for node, index in value.uses():
                if (node, index) not in self.known:
                    reader = f"{node.op_type} node {node.name!r}"
                    raise ModelError(f"--keep-tokens: {reader} reads {value.name!r}, which holds tokens, too")
        for value in self.narrowed:
            dims = None if value.shape is None else [*list(value.shape)[:-1], len(self.kept)]
            value.shape = None if dims is None else ir.Shape(dims)

    def element_by_element(self, node: ir.Node) -> None:
        """What stands between the layer that scores tokens and an output, where each score is taken by itself."""
        for index in range(1 if node.op_type in UNARY else len(node.inputs)):
            self._operand(node, index)

    def product(self, node: ir.Node) -> None:
        """The layer itself: outputs of its matrix, and of its bias."""
        self._weight(node, 1, transposed=bool(node.attributes.get_int("transB", 0)))
        for index in range(2, len(node.inputs)):
            self._operand(node, index)

    def _operand(self, node: ir.Node, index: int) -> None:
        value = node.inputs[index]
        shape = None if value is None else self.shapes(value)
        if value is None or not shape or shape[-1] == 1:
            return
        self.known.add((node, index))
        if value.is_initializer():
            self._slice(value, len(shape) - 1, node, index)
        else:
            self.scores(value)

    def _weight(self, node: ir.Node, index: int, *, transposed: bool) -> None:
        value = node.inputs[index]
        axis = 0 if transposed else -1
        maker = None if value is None else value.producer()
        # A table that is shared with the scores is turned first.
        if maker is not None and maker.op_type == "Transpose" and maker.inputs[0] is not None:
            rank = len(self.shapes(maker.inputs[0]) or ())
            order = list(maker.attributes.get_ints("perm", tuple(reversed(range(rank)))))
            self.known.add((node, index))
            if value is not None:
                value.shape = None
            value, axis, node, index = maker.inputs[0], order[axis], maker, 0
        if value is None or not value.is_initializer() or value.const_value is None:
            raise self._lost(node.outputs[0], node)
        self._slice(value, axis % len(value.const_value.shape), node, index)

    def _slice(self, value: ir.Value | None, axis: int, node: ir.Node, index: int) -> None:
        assert value is not None
        self.known.add((node, index))
        if value in self.cut:
            if self.cut[value] != axis:
                raise ModelError(f"--keep-tokens: two axes of {value.name!r} are about tokens")
            return
        tensor = value.const_value
        assert tensor is not None
        dims = [int(d) for d in tensor.shape.numpy()]
        if dims[axis] != self.size:
            raise ModelError(f"--keep-tokens: {value.name!r} has {dims[axis]} entries for {self.size} tokens")
        stays = np.zeros(self.size, np.bool_)
        stays[self.kept] = True
        dims[axis] = len(self.kept)
        self.cut[value] = axis
        value.const_value = DerivedTensor(tensor, KeptEntries({axis: stays}), tuple(dims))
        value.shape = ir.Shape(dims)

    def _lost(self, value: ir.Value, node: ir.Node | None) -> ModelError:
        maker = "an input" if node is None else f"{node.op_type} node {node.name!r}"
        return ModelError(
            f"--keep-tokens follows scores of tokens back to a matrix, and {value.name!r} is made by {maker}; "
            "cut the model off before it"
        )


_MAKERS_OF_SCORES: Mapping[str, Callable[[_Change, ir.Node], None]] = MappingProxyType(
    dict.fromkeys(BROADCASTS | UNARY, _Change.element_by_element) | dict.fromkeys(("Gemm", "MatMul"), _Change.product)
)
"""Operators behind which the scores are found again -> what has to be cut there."""
