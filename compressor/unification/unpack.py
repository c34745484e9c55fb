"""The nodes that make a weight of its packed parts: standard operators only, which a runtime folds when it loads.

Digits are read from bytes by a table (Gather), so that nothing newer than operator set 7 is needed; only a map of
blocks would need 11 (CumSum), and before that the indices it stands for are stored instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.errors import ModelError
from compressor.graph.ir.edit import FreeNames, add_constant
from compressor.graph.ir.exporter_metadata import OWN_PREFIX
from compressor.graph.ir.opsets import exists, node_of, version_of
from compressor.unification.assignment import FREE, UNIFIED
from compressor.unification.moves import LayoutMove, Reshape, shortened
from compressor.unification.packed import DIGITS, Packed, digit_table, from_bytes
from compressor.unification.packed_codebook import PackedCodebook

OLDEST_OPSET = 7
"""From which arithmetic broadcasts."""


def install(model: ir.Model, weights: Mapping[ir.Value, Packed | PackedCodebook]) -> None:
    """Replaces initializers of ``model`` by nodes that compute them from their packed parts, in place.

    A value keeps its name, its users and its bits; the parts are initializers named after it. The nodes come first in
    the graph; they have no names, which would be most of what they take. Where the value was an input with a default,
    which the caller could replace, the input goes.

    Raises:
        ModelError: the operator set of the model is too old.
    """
    graph = model.graph
    opset = version_of(graph)
    # Older operators broadcast by attributes of their own.
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"operator set {opset} is too old to unpack weights in, which takes {OLDEST_OPSET}; "
            "convert the model, or write plain weights with --dense"
        )
    builder = _Builder(graph, opset)
    for value, packed in weights.items():
        result = builder.weight(packed, str(value.name))
        del graph.initializers[str(value.name)]
        # Such an input could be given other numbers by the caller, and has no meaning any more.
        if value.is_graph_input():
            graph.inputs.remove(value)
        value.replace_all_uses_with(result)
        # The old value gives its name away first, as names are unique in a graph.
        result.name, value.name = str(value.name), None
        result.shape = ir.Shape(packed.layout.view.shape)
        result.type = ir.TensorType(ir.DataType.from_numpy(packed.dtype))
    # In front of everything, as any node may read a weight.
    graph.insert_before(graph[0], builder.nodes)


class _Builder:
    """Makes the nodes of one weight after the other."""

    def __init__(self, graph: ir.Graph, opset: int) -> None:
        self.graph, self.opset = graph, opset
        self.fresh = FreeNames(graph)
        self.nodes: list[ir.Node] = []
        self.own: dict[str, ir.Value] = {}
        self.signs: dict[str, ir.Value] = {}
        self.name = ""

    def weight(self, packed: Packed | PackedCodebook, name: str) -> ir.Value:
        """The weight, in its own type and shape."""
        self.name = name
        blocks = self._values(packed) if isinstance(packed, PackedCodebook) else self._blocks(packed)
        layout = packed.layout
        # Blocks at the edge were filled up, and are cut before the weight takes its shape.
        if layout.ragged:
            axes = tuple(axis for axis, size in enumerate(layout.sizes) if size < layout.core[axis])
            core = self._moved(blocks, shortened((layout.n, layout.count), layout.to_core))
            whole = self._cut(core, tuple(layout.sizes[axis] for axis in axes), axes)
            blocks = self._moved(whole, shortened(layout.sizes, layout.back))
        else:
            blocks = self._moved(blocks, layout.to_weight)
        return self._cast(blocks, packed.work, packed.dtype)

    def _values(self, packed: PackedCodebook) -> ir.Value:
        """The value of every code, ``[n, B]``: looked up for whole bytes where all weights share one table."""
        shape, count = (packed.layout.n, packed.layout.count), packed.values.shape[1]
        values = self._cast(self._stored("values", packed.values.reshape(-1)), packed.values.dtype, packed.work)
        # The values themselves are put into the table of bytes, which saves a second lookup.
        if len(packed.parts) == 1 and packed.layout.count == 1:
            bits, data = packed.parts[0]
            digits = self._node("Cast", [self._table(1 << bits)], to=ir.DataType.INT32)
            table = self._node("Gather", [self._filled(values, packed, 1 << bits), digits])
            return self._digits("codes", data, 1 << bits, shape, table)
        index: ir.Value | None = None
        for bits, data in packed.parts:
            table = self._node("Cast", [self._table(1 << bits)], to=ir.DataType.INT32)
            digits = self._digits("codes", data, 1 << bits, shape, table)
            higher = None if index is None else self._node("Mul", [index, self._number(1 << bits)])
            index = digits if higher is None else self._node("Add", [higher, digits])
        assert index is not None
        # The tables stand one after the other; each column starts at its own.
        if packed.layout.count > 1:
            first = np.arange(packed.layout.count, dtype=np.int32) * count
            index = self._node("Add", [index, self._shared(f"{OWN_PREFIX}tables{packed.layout.count}x{count}", first)])
        return self._node("Gather", [values, index])

    def _filled(self, values: ir.Value, packed: PackedCodebook, size: int) -> ir.Value:
        """A table of ``size`` values: every digit that a byte can hold is looked up, those too that are in no code."""
        missing = size - packed.values.shape[1]
        if not missing:
            return values
        zeros = self._shared(f"{OWN_PREFIX}none{missing}.{packed.work.name}", np.zeros(missing, packed.work))
        return self._node("Concat", [values, zeros], axis=0)

    def _blocks(self, packed: Packed) -> ir.Value:
        """All blocks in order, ``[n, B]``."""
        parts = {UNIFIED: self._unified, FREE: self._free}
        columns = [parts[kind](packed) for kind in packed.order if kind in parts]
        if len(columns) < len(packed.order):
            columns.append(self._stored("zeros", np.zeros((packed.layout.n, 1), packed.work)))
        if packed.map is None and packed.order[0] in parts:
            return columns[0]
        if packed.map is None:
            # All blocks are pruned: one column of zeros, as often as there are blocks.
            return self._node("Tile", [columns[0], self._shape_of((1, packed.layout.count))])
        return self._node("Gather", [self._node("Concat", columns, axis=1), self._index(packed)], axis=1)

    def _unified(self, packed: Packed) -> ir.Value:
        """Signs on magnitudes, ``[n, U]``."""
        count = len(packed.magnitudes)
        plus = self._cast(self._stored("magnitudes", packed.magnitudes), packed.magnitudes.dtype, packed.work)
        if packed.scale != 1:
            plus = self._node("Mul", [plus, self._number(packed.scale, packed.work)])
        factors = self._digits("signs", packed.signs, 2, (packed.layout.n, count), self._signs(packed.work))
        return self._node("Mul", [factors, plus])

    def _signs(self, work: np.dtype[Any]) -> ir.Value:
        """The table of bits as factors, 1 and -1, for all weights of this type."""
        if work.name not in self.signs:
            table = self._node("Cast", [self._table(2)], to=ir.DataType.from_numpy(work))
            doubled = self._node("Mul", [table, self._number(-2, work)])
            self.signs[work.name] = self._node("Add", [doubled, self._number(1, work)])
        return self.signs[work.name]

    def _free(self, packed: Packed) -> ir.Value:
        return self._cast(self._stored("free", packed.free), packed.dtype, packed.work)

    def _index(self, packed: Packed) -> ir.Value:
        """For each block its column among those of all kinds, int32[B]."""
        assert packed.map is not None
        base, count = len(packed.order), packed.layout.count
        sizes = {UNIFIED: len(packed.magnitudes), FREE: packed.free.shape[1]}
        # Columns of the kinds stand one after the other in the order of the digits.
        starts = np.cumsum([0, *(sizes.get(kind, 1) for kind in packed.order)])
        if not exists("CumSum", self.opset):
            return self._stored("index", _indices(from_bytes(packed.map, base, count), packed.order, starts))
        table = self._node("Cast", [self._table(base)], to=ir.DataType.INT32)
        digits = self._digits("map", packed.map, base, (count,), table)
        index = None
        for digit, kind in enumerate(packed.order):
            mask = self._node("Equal", [digits, self._number(digit)])
            if kind in sizes:
                ones = self._node("Cast", [mask], to=ir.DataType.INT32)
                running = self._node("CumSum", [ones, self._number(0)])
                place = self._node("Add", [running, self._number(int(starts[digit]) - 1)])
            else:
                place = self._number(int(starts[digit]))
            index = place if index is None else self._node("Where", [mask, place, index])
        assert index is not None
        return index

    def _table(self, base: int) -> ir.Value:
        """The digits of every byte, uint8."""
        return self._shared(f"{OWN_PREFIX}digits{base}", digit_table(base))

    def _digits(self, part: str, data: Any, base: int, shape: tuple[int, ...], table: ir.Value) -> ir.Value:
        """As many of the first entries that a table has for bytes as the shape holds, in the table's type."""
        found = self._node("Gather", [table, self._node("Cast", [self._stored(part, data)], to=ir.DataType.INT32)])
        total, count = data.size * DIGITS[base], prod(shape)
        if total != count:
            found = self._cut(self._moved(found, [Reshape((total,))]), (count,), (0,))
        return found if total != count and shape == (count,) else self._moved(found, [Reshape(shape)])

    def _cut(self, value: ir.Value, ends: tuple[int, ...], axes: tuple[int, ...]) -> ir.Value:
        """The first so many entries along each of some axes."""
        numbers = {"starts": [0] * len(axes), "ends": ends, "axes": axes}
        return self._put(node_of("Slice", value, numbers, self.opset, lambda _, array: self._shape_of(array)))

    # ---- nodes and constants --------------------------------------------------------------------------------

    def _moved(self, value: ir.Value, moves: Iterable[LayoutMove]) -> ir.Value:
        for move in moves:
            if isinstance(move, Reshape):
                value = self._node("Reshape", [value, self._shape_of(move.shape)])
            else:
                value = self._node("Transpose", [value], perm=list(move.axes))
        return value

    def _cast(self, value: ir.Value, have: np.dtype[Any], want: np.dtype[Any]) -> ir.Value:
        return value if have == want else self._node("Cast", [value], to=ir.DataType.from_numpy(want))

    def _node(self, op_type: str, inputs: list[ir.Value], **attributes: Any) -> ir.Value:
        numbers = {k: int(v) if isinstance(v, ir.DataType) else v for k, v in attributes.items()}
        return self._put(ir.node(op_type, inputs, attributes=numbers))

    def _put(self, node: ir.Node) -> ir.Value:
        node.outputs[0].name = self.fresh(f"u{len(self.nodes)}")
        self.nodes.append(node)
        return node.outputs[0]

    def _stored(self, part: str, array: Any) -> ir.Value:
        return add_constant(self.graph, f"{self.name}.{part}", np.asarray(array), self.fresh)

    def _number(self, number: float, dtype: Any = np.int32) -> ir.Value:
        return self._shared(f"{OWN_PREFIX}{np.dtype(dtype).name}.{number}", np.asarray(number, dtype))

    def _shape_of(self, shape: Iterable[int]) -> ir.Value:
        return self._shared(f"{OWN_PREFIX}{'x'.join(map(str, shape))}", np.asarray(shape, np.int64))

    def _shared(self, name: str, array: Any) -> ir.Value:
        """A constant that several weights use, by a name that says what it holds."""
        if name not in self.own:
            self.own[name] = add_constant(self.graph, name, array, self.fresh)
        return self.own[name]


def _indices(digits: Any, order: tuple[int, ...], starts: Any) -> Any:
    """What `_Builder._index` computes, as numbers: int32[B]."""
    index = np.zeros(len(digits), np.int32)
    for digit, kind in enumerate(order):
        mask = digits == digit
        index[mask] = starts[digit] + (np.arange(mask.sum()) if kind in (UNIFIED, FREE) else 0)
    return index
