"""What a graph does with one of its inputs, as far as that tells what the input holds.

An input is followed through operators that change its layout, type or scale and nothing else, to the nodes that read
it: a convolution over two axes reads pictures, a table is picked from by indices, a concatenation with computed
values takes a cache. Nothing here looks at names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.shapes import Shapes

Numbers = npt.NDArray[np.float64]
Axes = tuple[int, ...] | None
"""Axis of the input behind each axis of a value, -1 where there is none; None where they were mixed."""

COPIES = frozenset({"Add", "Cast", "Clip", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators through which an index reaches its table more or less as it was."""
TABLES = MappingProxyType(
    {
        ("Gather", 1): 0,
        ("GatherBlockQuantized", 1): 0,
        ("EmbedLayerNormalization", 0): 2,  # words
        ("EmbedLayerNormalization", 1): 4,  # segments
        ("EmbedLayerNormalization", 8): 3,  # positions
    }
)
"""Operator and the operand that picks -> the operand that is the table, along its attribute ``axis`` or else axis 0."""
SAME_AXES = frozenset({
    "Add", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Div", "Identity", "InstanceNormalization", "Mul",
    "Pad", "QuantizeLinear", "Resize", "Slice", "Sub", "Upsample",
})  # fmt: skip
"""Operators whose result has the axes of the first operand that is not constant, in other sizes or units."""
MIXED_AXES = frozenset({"DepthToSpace", "Expand", "Flatten", "Gather", "Reshape", "SpaceToDepth", "Split", "Squeeze"})
"""Operators that hand values on under other axes."""
CONVOLUTIONS = frozenset({"Conv", "ConvInteger", "ConvTranspose", "FusedConv", "QLinearConv"})
PRODUCTS = frozenset({"FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"})
RECURRENCES = frozenset({"GRU", "LSTM", "RNN"})
SPECTRA = frozenset({"DFT", "STFT"})
AFFINE = frozenset({"Add", "BatchNormalization", "Div", "Mul", "Sub"})


@dataclass(frozen=True)
class InputUse:
    """What a graph does with one of its inputs.

    Attributes:
        table: entries of the smallest table that the input, or a plain copy of it, picks from; None: from none.
        window: axes over which the first convolutions slide: 1, 2 or 3; None where none reads the input.
        channel_axis: axis of the input that the convolution takes for channels, -1 where it has no such axis; None
            where that cannot be told.
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

    node: ir.Node
    index: int
    axes: Axes

    @property
    def op(self) -> str:
        return self.node.op_type


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
        product=any(read.op in PRODUCTS for read in reads),
        spectrum=any(read.op in SPECTRA for read in reads),
        joined=any(read.op == "Concat" and _computed_beside(read, shapes) for read in reads),
        state=any(read.op in RECURRENCES and read.index >= 5 for read in reads),
        added=any(read.op == "Add" and _computed_beside(read, shapes) for read in reads),
        shift=shift,
        scale=scale,
    )


def table_size(value: ir.Value, shapes: Shapes) -> int | None:
    """Entries of the smallest table that ``value``, or a plain copy of it, picks from; None: it picks from none."""
    tables: list[int] = []
    # Branches that join again would be followed once for each way.
    reached, todo = {value}, [value]
    while todo:
        for node, index in todo.pop().uses():
            if (node.op_type, index) in TABLES:
                place = TABLES[node.op_type, index]
                held = node.inputs[place] if place < len(node.inputs) else None
                table = None if held is None else shapes(held)
                axis = node.attributes.get_int("axis", 0)
                # A damaged file may name an axis that the table does not have.
                tables += [table[axis]] if table and -len(table) <= axis < len(table) else []
            elif node.op_type in COPIES:
                todo += [v for v in node.outputs if v not in reached]
                reached |= set(node.outputs)
    return min(tables, default=None)


def _reads(value: ir.Value, shapes: Shapes) -> Iterator[_Read]:
    """Every node that reads ``value`` or what is left of it behind layout, type and scale, nearest first."""
    rank = len(shapes(value) or ())
    reached, todo = {value}, [(value, tuple(range(rank)) if rank else None)]
    while todo:
        current, axes = todo.pop(0)
        for node, index in current.uses():
            yield _Read(node, index, axes)
            handed = _handed_on(node, index, axes, shapes)
            # What was mixed with computed values is no longer the input.
            if handed is None or node.outputs[0] in reached:
                continue
            reached |= set(node.outputs)
            todo += [(out, handed[0]) for out in node.outputs]


def _handed_on(node: ir.Node, index: int, axes: Axes, shapes: Shapes) -> tuple[Axes] | None:
    """The axes of the result in a tuple, where the node hands its operand on; None where it makes something new."""
    if _computed_beside(_Read(node, index, axes), shapes):
        return None
    if node.op_type in SAME_AXES:
        return (axes,)
    if node.op_type == "Transpose":
        order = node.attributes.get_ints("perm", None)
        # Without an order, Transpose turns the axes around.
        return (None if axes is None else tuple(axes[k] for k in order) if order else axes[::-1],)
    if node.op_type == "Unsqueeze":
        return (_unsqueezed(node, axes, shapes),)
    return (None,) if node.op_type in MIXED_AXES and index == 0 else None


def _unsqueezed(node: ir.Node, axes: Axes, shapes: Shapes) -> Axes:
    given = node.attributes.get_ints("axes", None)
    if given is None and len(node.inputs) > 1:
        static = shapes.const(node.inputs[1])
        given = None if static is None else [int(k) for k in static.ravel()]
    if axes is None or given is None:
        return None
    rank = len(axes) + len(given)
    fresh, rest = {k % rank for k in given}, iter(axes)
    return tuple(-1 if k in fresh else next(rest) for k in range(rank))


def _computed_beside(read: _Read, shapes: Shapes) -> bool:
    """Does the node read another operand that is neither constant nor static?"""
    others = [v for k, v in enumerate(read.node.inputs) if v is not None and k != read.index]
    return any(shapes.const(v) is None for v in others)


def _window(read: _Read, shapes: Shapes) -> int | None:
    """Axes over which a convolution slides that reads its data here."""
    if read.op not in CONVOLUTIONS or read.index != 0:
        return None
    rank = len(shapes(read.node.inputs[0]) or ()) if read.node.inputs[0] is not None else 0
    return rank - 2 if rank > 2 else None


def _normalisation(value: ir.Value, shapes: Shapes) -> tuple[Numbers | None, Numbers | None]:
    """``shift`` and ``scale`` of the affine steps with constants that stand between the input and everything else.

    The input is read as (x - shift) / scale. Both are None where there are no such steps.
    """
    gain, offset = np.ones(()), np.zeros(())
    found = False
    # A second reader would see the input before these steps.
    while len(uses := list(value.uses())) == 1:
        node, index = uses[0]
        if node.op_type in ("Cast", "Identity"):
            value = node.outputs[0]
            continue
        step = _affine(node, index, shapes) if node.op_type in AFFINE else None
        if step is None:
            break
        gain, offset, found = gain * step[0], offset * step[0] + step[1], True
        value = node.outputs[0]
    # A factor of zero leaves nothing of the input to be scaled back.
    if not found or not np.all(gain):
        return None, None
    return -offset / gain, 1 / gain


def _affine(node: ir.Node, index: int, shapes: Shapes) -> tuple[Numbers, Numbers] | None:
    """Factor and summand of a node that computes ``factor * x + summand`` of the operand at ``index``."""
    if node.op_type == "BatchNormalization":
        return _batch_norm(node, index, shapes)
    other = shapes.const(node.inputs[1 - index])
    if other is None:
        return None
    constant = np.asarray(other, np.float64)
    if node.op_type == "Add":
        return np.ones(()), constant
    if node.op_type == "Mul":
        return constant, np.zeros(())
    if node.op_type == "Sub":
        return (np.ones(()), -constant) if index == 0 else (-np.ones(()), constant)
    # With the input below the line it is no affine step.
    return (1 / constant, np.zeros(())) if index == 0 and np.all(constant) else None


def _batch_norm(node: ir.Node, index: int, shapes: Shapes) -> tuple[Numbers, Numbers] | None:
    tensors = [shapes.const(v) for v in node.inputs[1:5]]
    known = [np.asarray(t, np.float64) for t in tensors if t is not None]
    shape = shapes(node.inputs[0]) if node.inputs[0] is not None else None
    if index != 0 or len(known) < 4 or shape is None:
        return None
    # One entry for each channel, which is axis 1.
    gamma, beta, mean, variance = (t.reshape(-1, *[1] * (len(shape) - 2)) for t in known)
    factor = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return factor, beta - mean * factor
