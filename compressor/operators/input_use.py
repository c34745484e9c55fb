"""What a graph does with one of its inputs, as far as that shows what the input holds.

An input is followed through operators that change its layout, type or scale and nothing else, to the nodes that read
it: a convolution over two axes reads pictures, a table is picked from by indices, a concatenation with computed
values takes a cache. Nothing here looks at names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.convenience import get_const_tensor

from compressor.graph.ir.evaluate import evaluate
from compressor.graph.ir.movement import ALL_ENTRIES, Movement
from compressor.graph.ir.opsets import stated, version_of
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.facts import Normalises
from compressor.operators.operator import Operator
from compressor.operators.table import operator_of

Numbers = npt.NDArray[np.float64]
AxesOfInput = tuple[int, ...] | None
"""Axis of the input behind each axis of a value, -1 where there is none; None where they were mixed."""


class IndexedTable(NamedTuple):
    """How many rows a table has, and the name of the node that picks from it."""

    rows: int
    node: str


@dataclass(frozen=True)
class InputUse:
    """What a graph does with one of its inputs.

    Attributes:
        table: entries of the smallest table that the input, or a plain copy of it, picks from; None: from none.
        window: axes over which the first convolutions slide: 1, 2 or 3; None where none reads the input.
        channel_axis: axis of the input that the convolution takes for channels, -1 where it has no such axis; None
            where that is not known.
        product: a matrix product reads it.
        spectrum: a Fourier transform reads it.
        joined: it is concatenated with computed values, as a cache of keys and values is.
        state: a recurrent operator starts from it.
        added: it is added to computed values, as a mask of scores before softmax is.
        shift: what the graph subtracts from the input before anything else, broadcast against it; None: nothing.
        scale: what it divides by after that; None: nothing.
    """

    table: int | None = None
    window: int | None = None
    channel_axis: int | None = None
    product: bool = False
    spectrum: bool = False
    joined: bool = False
    state: bool = False
    added: bool = False
    shift: Numbers | None = None
    scale: Numbers | None = None


@dataclass(frozen=True)
class _Read:
    """One node that reads the input, at one of its operands."""

    origin: ir.Value
    node: ir.Node
    index: int
    axes: AxesOfInput

    @property
    def operator(self) -> Operator:
        return operator_of(self.node)


def use_of(value: ir.Value, shapes: Shapes) -> InputUse:
    """What the graph does with ``value``, one of its inputs; ``shapes`` are those of the graph."""
    reads = list(_reads(value, shapes))
    windows = [(read, rank) for read in reads if (rank := _window(read, shapes)) is not None]
    first = windows[0][0] if windows else None
    shift, scale = _normalisation(value, shapes)
    return InputUse(
        table=table_size(value, shapes),
        window=min((rank for _, rank in windows), default=None),
        channel_axis=first.axes[1] if first is not None and first.axes is not None and len(first.axes) > 1 else None,
        product=any(_multiplied(read) for read in reads),
        spectrum=any(read.operator.spectral for read in reads),
        joined=any(read.operator.movement is Movement.JOINS and _computed_beside(read, shapes) for read in reads),
        state=any(read.index in read.operator.states for read in reads),
        added=any(read.index in read.operator.addends and _computed_beside(read, shapes) for read in reads),
        shift=shift,
        scale=scale,
    )


def table_size(value: ir.Value, shapes: Shapes) -> int | None:
    """Entries of the smallest table that ``value``, or a plain copy of it, picks from; None: it picks from none."""
    return min((rows for rows, _ in _picks(value, shapes, _copies)), default=None)


def constant_table(value: ir.Value) -> IndexedTable | None:
    """The smallest stored table that all entries of ``value`` pick from in every run; None: they pick from none.

    Needs no shapes, and no normalised model. Nodes of branches are passed over, as these may not run.
    """

    def stored(held: ir.Value) -> tuple[int, ...] | None:
        tensor = get_const_tensor(held)
        return None if tensor is None else tuple(tensor.shape.numpy())

    found = [(rows, node) for rows, node in _picks(value, stored, _keeps_entries) if node.graph is value.graph]
    return min((IndexedTable(rows, str(node.name)) for rows, node in found), key=lambda table: table.rows, default=None)


def _picks(
    value: ir.Value,
    shapes: Callable[[ir.Value], Sequence[int] | None],
    follows: Callable[[Operator, int], bool],
) -> Iterator[tuple[int, ir.Node]]:
    """Entries of each table that ``value`` picks from, at once or behind what ``follows``, and the node that picks."""
    # Branches that join again would be followed once for each way.
    reached, todo = {value}, [value]
    while todo:
        for node, index in todo.pop().uses():
            operator = operator_of(node)
            if index in operator.tables:
                held = node.inputs[operator.tables[index]]
                table = None if held is None else shapes(held)
                axis = node.attributes.get_int("axis", 0)
                # A damaged file may name an axis that the table does not have.
                if table and -len(table) <= axis < len(table):
                    yield table[axis], node
            elif follows(operator, index):
                todo += [v for v in node.outputs if v not in reached]
                reached |= set(node.outputs)


def _reads(value: ir.Value, shapes: Shapes) -> Iterator[_Read]:
    """Every node that reads ``value`` or what is left of it behind layout, type and scale, nearest first."""
    rank = len(shapes(value) or ())
    reached, todo = {value}, [(value, tuple(range(rank)) if rank else None)]
    while todo:
        current, axes = todo.pop(0)
        for node, index in current.uses():
            read = _Read(value, node, index, axes)
            yield read
            handed = _handed_on(read, shapes)
            # What was mixed with computed values is no longer the input.
            if handed is None or node.outputs[0] in reached:
                continue
            reached |= set(node.outputs)
            todo += [(out, handed[0]) for out in node.outputs]


def _handed_on(read: _Read, shapes: Shapes) -> tuple[AxesOfInput] | None:
    """The axes of the result in a tuple, where the node hands its operand on; None where it makes something new."""
    if _computed_beside(read, shapes):
        return None
    node, index, axes, operator = read.node, read.index, read.axes, read.operator
    if _keeps_axes(operator, index):
        # Broadcasting puts axes of the other operand in front.
        fresh = len(shapes(node.outputs[0]) or ()) - len(axes or ())
        return (axes if axes is None else (-1,) * fresh + axes,)
    if operator.movement is Movement.AXES:
        order = node.attributes.get_ints("perm", None)
        # Without an order, Transpose turns the axes around.
        return (None if axes is None else tuple(axes[k] for k in order) if order else axes[::-1],)
    if node.op_type == "Unsqueeze":
        return (_unsqueezed(read, shapes),)
    return (None,) if operator.moves and index == 0 else None


def _copies(operator: Operator, index: int) -> bool:
    """Does an index go on to the result more or less as it was?"""
    if operator.rearranges:
        return index == 0 or operator.movement is Movement.JOINS
    return index in operator.addends or (operator.clamps and not operator.is_setting(index))


def _keeps_entries(operator: Operator, index: int) -> bool:
    """Are all entries of this operand in the result as they are?"""
    return operator.movement is Movement.JOINS or (index == 0 and operator.movement in ALL_ENTRIES)


def _keeps_axes(operator: Operator, index: int) -> bool:
    """Has the result the axes of this operand, in other sizes or units?"""
    if operator.affine(index) or (operator.clamps and not operator.is_setting(index)):
        return True
    if operator.movement is Movement.JOINS:
        return True
    stays = operator.movement in (Movement.COPY, Movement.ALONG, Movement.TYPE, Movement.ZEROS)
    scaled = operator.normalises is Normalises.EACH_CHANNEL or operator.encodes is not None or operator.resamples
    return index == 0 and (stays or scaled)


def _multiplied(read: _Read) -> bool:
    """Does a matrix product read it here?"""
    operator = read.operator
    return operator.window is None and len(operator.factors) > 1 and read.index in operator.factors


def _unsqueezed(read: _Read, shapes: Shapes) -> AxesOfInput:
    # Of the graph of the input: a body that reads it has no version of its own.
    given = stated(read.node, "axes", version_of(read.origin.graph), shapes.const)
    if read.axes is None or given is None:
        return None
    rank = len(read.axes) + given.size
    fresh, rest = {int(k) % rank for k in given.ravel()}, iter(read.axes)
    return tuple(-1 if k in fresh else next(rest) for k in range(rank))


def _computed_beside(read: _Read, shapes: Shapes) -> bool:
    """Does the node read another operand that is computed from another input?"""
    others = [v for k, v in enumerate(read.node.inputs) if v is not None and k != read.index]
    return any(shapes.const(v) is None and _computed_from_another(v, read.origin) for v in others)


def _computed_from_another(value: ir.Value, origin: ir.Value) -> bool:
    """Is it more than an input in another layout, type or scale, and not of ``origin`` alone?"""
    computed = another = False
    reached, todo = {value}, [value]
    while todo and not (computed and another):
        current = todo.pop()
        node = current.producer()
        if node is None:
            another |= current is not origin and not current.is_initializer()
            continue
        operator = operator_of(node)
        computed |= not operator.moves and not any(_keeps_axes(operator, k) for k in range(len(node.inputs)))
        fresh = [v for v in node.inputs if v is not None and v not in reached]
        todo += fresh
        reached.update(fresh)
    return computed and another


def _window(read: _Read, shapes: Shapes) -> int | None:
    """Axes over which a convolution slides that reads its data here."""
    operator, value = read.operator, read.node.inputs[read.index]
    if operator.window is None or not operator.factors or read.index != operator.factors[0] or value is None:
        return None
    rank = len(shapes(value) or ())
    return rank - 2 if rank > 2 else None


def _normalisation(value: ir.Value, shapes: Shapes) -> tuple[Numbers | None, Numbers | None]:
    """``shift`` and ``scale`` of the affine steps with constants that stand between the input and everything else.

    The input is read as (x - shift) / scale. Both are None where there are no such steps.
    """
    opsets = {} if value.graph is None else value.graph.opset_imports
    gain, offset = np.ones(()), np.zeros(())
    found = False
    # A second reader would see the input before these steps.
    while len(uses := list(value.uses())) == 1:
        node, index = uses[0]
        operator = operator_of(node)
        if index == 0 and operator.movement in (Movement.COPY, Movement.TYPE):
            value = node.outputs[0]
            continue
        step = _affine(node, index, shapes, opsets) if operator.affine(index) else None
        if step is None:
            break
        gain, offset, found = gain * step[0], offset * step[0] + step[1], True
        value = node.outputs[0]
    # A factor of zero leaves nothing of the input to be scaled back.
    if not found or not np.all(gain):
        return None, None
    return -offset / gain, 1 / gain


def _affine(node: ir.Node, index: int, shapes: Shapes, opsets: Mapping[str, int]) -> tuple[Numbers, Numbers] | None:
    """Factor and summand of a node that computes ``factor * x + summand`` of the operand at ``index``.

    Both are known by what the node makes of 0 and of 1, in float64.
    """
    value, others = node.inputs[index], [v for k, v in enumerate(node.inputs) if v is not None and k != index]
    constants = {str(v.name): shapes.const(v) for v in others}
    shape = None if value is None else shapes(value)
    if value is None or shape is None or any(array is None for array in constants.values()):
        return None
    feeds = {name: np.asarray(array, np.float64) for name, array in constants.items()}
    # Vectors of channels go with axis 1, which a lone number lacks.
    channels = shape[1] if len(shape) > 1 else 1
    size = (1, channels, *[1] * (len(shape) - 2)) if operator_of(node).statistics else ()
    ends = [evaluate(node, {**feeds, str(value.name): np.full(size, end)}, opsets) for end in (0.0, 1.0)]
    summand, total = (np.asarray(found[0] if found else np.nan, np.float64) for found in ends)
    # Neither is a number where the reference cannot run it, or where something is divided by zero.
    return (total - summand, summand) if np.isfinite(total).all() and np.isfinite(summand).all() else None
