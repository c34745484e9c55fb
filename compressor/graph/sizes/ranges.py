"""How large the whole numbers of a graph get, and which of them pick from an axis.

Interval arithmetic (Moore, *Interval Analysis*, 1966) on integer values, with bounds that may be sizes: ``Range(0, T)``
lies between 0 and ``T - 1``. An integer input lies between 0 and a bound that is a symbol of its own, so that what
reaches an index through sums and masks shows how large the input may be. Bounds are kept for each position of the last
axis, because the last axis of indices of GatherND holds one index for each axis of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.movement import JOINS, MOVEMENT, MOVES, Movement
from compressor.graph.ir.nodes import is_standard
from compressor.graph.sizes.dims import (
    OPEN,
    TEXT_LIMIT,
    Dim,
    Size,
    maximum,
    minimum,
    nonnegative,
    substitute,
    symbol,
    symbols,
)
from compressor.graph.sizes.known import Known, initializer_of
from compressor.graph.sizes.shape_rules import TO_THE_END

TOP = f"{OPEN}top of "
"""What the symbol of an input's largest number is called, before the input's name."""
POSITIONS_APART = 16
"""Positions of the longest last axis that are kept apart."""
WHOLE_NUMBERS = frozenset({
    ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT8, ir.DataType.UINT16,
    ir.DataType.UINT32, ir.DataType.UINT64, ir.DataType.BOOL,
})  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """The least and the largest number."""

    low: Dim
    high: Dim

    def __or__(self, other: Interval) -> Interval:
        return Interval(minimum(self.low, other.low), maximum(self.high, other.high))


Column = tuple[Interval, ...]
"""One interval for all positions of the last axis, or one for each."""
BIT: Column = (Interval(0, 1),)


@dataclass(frozen=True)
class Limit:
    """An index and the axis that it picks from.

    Attributes:
        index: where it lies.
        size: of the axis.
    """

    index: Interval
    size: Dim


def index_limits(graph: ir.Graph, known: Known) -> list[Limit]:
    """Every index of the graph whose range can be followed, with the size of what it picks from.

    Args:
        graph: the graph.
        known: what a walk with symbolic sizes found.
    """
    ranges = _Ranges(graph, known)
    return [limit for node in graph for limit in ranges.visit(node)]


class _Ranges:
    def __init__(self, graph: ir.Graph, known: Known) -> None:
        self._known = known
        self._found: dict[ir.Value, Column | None] = {
            v: (Interval(0, symbol(f"{TOP}{v.name}")),)
            for v in graph.inputs
            if not v.is_initializer() and known.dtypes.get(v) in WHOLE_NUMBERS
        }

    def visit(self, node: ir.Node) -> Iterator[Limit]:
        """Ranges of the outputs of ``node``; its indices."""
        if not is_standard(node):
            return
        for value in node.outputs:
            if value not in self._found and self._known.dtypes.get(value) in WHOLE_NUMBERS:
                self._found[value] = self._short(self._range(node, value))
        if node.op_type in _PICKS and len(node.inputs) > 1:
            yield from self._limits(node)

    def _limits(self, node: ir.Node) -> Iterator[Limit]:
        data, index = node.inputs[:2]
        shape = None if data is None else self._known.shapes.get(data)
        column = None if index is None else self._of(index)
        if not shape or column is None:
            return
        if node.op_type in _ALONG_AXIS:
            axis = node.attributes.get_int("axis", 0)
            # Of an axis that is not there nothing is claimed; whoever runs the node refuses it.
            if -len(shape) <= axis < len(shape):
                yield from (Limit(interval, shape[axis]) for interval in column)
        else:
            lead = node.attributes.get_int("batch_dims", 0)
            # Position k of the last axis of an index picks from axis k.
            for k, size in enumerate(shape[lead:]):
                if k < len(column) or len(column) == 1:
                    yield Limit(column[min(k, len(column) - 1)], size)

    def _of(self, value: ir.Value) -> Column | None:
        if value not in self._found:
            tensor = initializer_of(value)
            array = self._known.data.get(value) if tensor is None else None
            if tensor is not None and tensor.dtype in WHOLE_NUMBERS:
                array = tensor.numpy()
            self._found[value] = None if array is None or not array.size else _column(array)
        return self._found[value]

    def _short(self, column: Column | None) -> Column | None:
        long = column is None or any(
            isinstance(d, Size) and len(d.text) > TEXT_LIMIT for i in column for d in (i.low, i.high)
        )
        return None if long else column

    def _range(self, node: ir.Node, value: ir.Value) -> Column | None:
        if value in self._known.data:
            return self._of(value)
        if self._known.dtypes.get(value) == ir.DataType.BOOL:
            return BIT
        columns = [None if v is None else self._of(v) for v in node.inputs]
        if node.op_type in _CHOOSE:
            return self._moved(node, value, columns)
        if node.op_type == "Where":
            # The condition is in no result.
            columns = columns[1:]
        known = [c for c in columns if c is not None]
        if len(known) < len(columns):
            return None
        if node.op_type in JOINS:
            return self._joined(node, known)
        rule = _COMPUTED.get(node.op_type)
        return None if rule is None or len(known) != rule.operands else rule.join(*known)

    def _moved(self, node: ir.Node, value: ir.Value, columns: Sequence[Column | None]) -> Column | None:
        source = columns[0]
        if node.inputs[0] is not None and self._known.dtypes.get(node.inputs[0]) not in WHOLE_NUMBERS:
            return None  # a cast of numbers that nothing is known of
        if source is None or len(source) == 1:
            return source
        before, after = (self._known.shapes.get(v) for v in (node.inputs[0], value) if v is not None)
        kept = node.op_type in _KEEP_LAST and before and after and before[-1] == after[-1]
        return source if kept else (_together(source),)

    def _joined(self, node: ir.Node, known: Sequence[Column]) -> Column | None:
        shapes = [self._known.shapes.get(v) for v in node.inputs if v is not None]
        if not shapes or any(not s for s in shapes):
            return None
        rank = len(shapes[0] or ())
        # Along another axis, each position of the last one holds numbers of all operands.
        if node.attributes.get_int("axis", 0) % rank != rank - 1:
            return (_together([i for c in known for i in c]),)
        joined: list[Interval] = []
        for column, shape in zip(known, shapes, strict=True):
            size = (shape or (0,))[-1]
            if not isinstance(size, int) or len(joined) + size > POSITIONS_APART:
                return (_together([i for c in known for i in c]),)
            joined += column if len(column) == size else [_together(column)] * size
        return tuple(joined)


def _column(array: Array) -> Column | None:
    """Bounds of what is known; None for many sizes, which are not held against each other."""
    if array.dtype.kind == "O":
        entries = [e if isinstance(e, Size) else int(e) for e in array.ravel()]
        return tuple(Interval(e, e) for e in entries) if array.ndim < 2 and len(entries) <= POSITIONS_APART else None
    # Column by column: indices of several axes stand side by side, and each has a bound of its own.
    if array.ndim and array.shape[-1] <= POSITIONS_APART:
        rows = array.reshape(-1, array.shape[-1])
        return tuple(Interval(int(rows[:, k].min()), int(rows[:, k].max())) for k in range(rows.shape[1]))
    return (Interval(int(array.min()), int(array.max())),)


def _together(column: Sequence[Interval]) -> Interval:
    found = column[0]
    for interval in column[1:]:
        found = found | interval
    return found


def _each(join: Callable[[Interval, Interval], Interval | None], one: Column, two: Column) -> Column | None:
    """``join`` of two columns position by position, one of a single interval broadcast; None where one gives None, or
    their lengths do not fit."""
    count = max(len(one), len(two))
    if {len(one), len(two)} - {1, count}:
        return None
    pairs = zip(one * (count // len(one)), two * (count // len(two)), strict=True)
    found = [join(a, b) for a, b in pairs]
    known = tuple(i for i in found if i is not None)
    return known if len(known) == len(found) else None


def _positive(size: Dim) -> bool:
    return nonnegative(size - 1)


def _times(one: Interval, two: Interval) -> Interval | None:
    # With negative numbers the bounds might change places.
    if not (nonnegative(one.low) and nonnegative(two.low)):
        return None
    return Interval(one.low * two.low, one.high * two.high)


def _counted(start: Column, limit: Column, step: Column) -> Column | None:
    # With a negative step the numbers would go down from the start.
    return (Interval(start[0].low, limit[0].high - 1),) if _positive(step[0].low) else None


def _remainder(_: Column, by: Column) -> Column | None:
    # The remainder has the sign of the divisor.
    return (Interval(0, _together(by).high - 1),) if all(_positive(i.low) for i in by) else None


@dataclass(frozen=True)
class _Rule:
    operands: int
    join: Callable[..., Column | None]


def _elementwise(join: Callable[[Interval, Interval], Interval | None]) -> _Rule:
    return _Rule(2, lambda one, two: _each(join, one, two))


_COMPUTED: Mapping[str, _Rule] = MappingProxyType({
    "Add": _elementwise(lambda a, b: Interval(a.low + b.low, a.high + b.high)),
    "Max": _elementwise(lambda a, b: Interval(maximum(a.low, b.low), maximum(a.high, b.high))),
    "Min": _elementwise(lambda a, b: Interval(minimum(a.low, b.low), minimum(a.high, b.high))),
    "Mod": _Rule(2, _remainder),
    "Mul": _elementwise(_times),
    "Range": _Rule(3, _counted),
    # The least comes of taking away the largest.
    "Sub": _elementwise(lambda a, b: Interval(a.low - b.high, a.high - b.low)),
    "Where": _elementwise(Interval.__or__),
})  # fmt: skip
_KEEP = (Movement.COPY, Movement.SHAPE, Movement.TYPE)
_KEEP_LAST = frozenset(op for op, kind in MOVEMENT.items() if kind in _KEEP) | {"Expand"}
"""Operators that keep the positions of the last axis where its size stays."""
_CHOOSE = (MOVES - JOINS) | {"Clip", "ReduceMax", "ReduceMin"}
"""Operators whose results are numbers of their first input."""
_ALONG_AXIS = frozenset({"Gather", "GatherElements", "ScatterElements"})
_PICKS = _ALONG_AXIS | {"GatherND", "ScatterND"}
"""Operators whose second input holds indices into the first: along attribute ``axis``, or into its first axes."""


def largest_indices(
    limits: Sequence[Limit], names: Sequence[str], sizes: Mapping[str, Dim], default: int
) -> dict[str, int]:
    """The largest number that each integer input may hold so that every index stays within its axis.

    Inputs grow one after the other, in their order, while the later ones stay at ``default``: token ids come before
    masks and token types.

    Args:
        limits: as :func:`index_limits` gives them.
        names: of the integer inputs.
        sizes: what the symbols of the inputs' shapes stand for.
        default: for an input that reaches no index.
    """
    room: dict[Dim, None] = {}  # what has to be zero or more
    for limit in limits:
        left = substitute(limit.size - 1 - limit.index.high, sizes)
        # What still depends on other symbols says nothing of an input alone.
        if all(name.startswith(TOP) for name in symbols(left)):
            room[left] = None
    found = dict.fromkeys(names, default)
    for name in names:
        own = [left for left in room if TOP + name in symbols(left)]
        if own:
            others = {TOP + n: top for n, top in found.items() if n != name}
            found[name] = _largest([substitute(left, others) for left in own], TOP + name)
    return found


def reachable(limits: Sequence[Limit], sizes: Mapping[str, Dim]) -> bool:
    """Do indices stay within their axes where inputs hold zeros? What depends on other symbols is passed over."""
    for limit in limits:
        left = substitute(limit.size - 1 - limit.index.high, sizes)
        left = substitute(left, {name: 0 for name in symbols(left) if name.startswith(TOP)})
        if isinstance(left, int) and left < 0:
            return False
    return True


def _largest(room: Sequence[Dim], name: str) -> int:
    """The largest number that leaves no entry of ``room`` below zero, by bisection; 0 where none does."""
    low, high = 0, TO_THE_END
    while low < high:
        # More of an input never leaves more room, so bisection finds the edge.
        middle = (low + high + 1) // 2
        fits = all(nonnegative(substitute(left, {name: middle})) for left in room)
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
