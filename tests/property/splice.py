"""Random graphs of pieces: a layer, pieces of tests/operators one behind another, adaptors where shapes ask for them.

What a piece reads comes from layers that are cut, or from the piece before it as it is; sometimes from two layers
that are added, and sometimes the piece's own input is added to what it gives, so that pieces are tied to each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .blocks_ends import CLASSES
from .builder import BATCH, Shape, Style, Value
from .graphs import ENTRIES, choose, to_model
from .growing import BATCH_OF_DRAWS, Block, Net, session
from .operators import Builder
from .pieces import Piece, is_float, renamed

WIDTH = 12
"""Features of an adaptor between values that have no axis but the batch in common."""
OTHER_SIZE = 5
"""What an axis of an open size other than the batch gets."""
ROWS = 3
"""Token numbers are below this: every table has as many rows."""
OLDEST = 11
"""First operator set that the blocks of the catalogue are written for."""


def spliced_model(rng: np.random.Generator, chosen: Sequence[Piece]) -> onnx.ModelProto:
    """A model with every one of the pieces, which are of one operator set; its batch is open where they allow that."""
    style = Style(constant_nodes=bool(rng.random() < 0.3), merge_constants=bool(rng.random() < 0.3))
    net = Net(Builder(rng, chosen[0].opset, None, style))
    x = net.input("x", *net.b.pick((BATCH, 3, 6, 6), (BATCH, 5, 8), (BATCH, 7)))
    for piece in chosen:
        x = _followed(net, piece, x)
    for width in (WIDTH, CLASSES):  # something can be removed behind a piece that lets nothing through
        x = net.require(Block("head", lambda b, v, w=width: to_shape(b, v, (BATCH, w)), opset=1), x)
    model = to_model(net, [x])
    if not runs(model, 2):
        for info in (*model.graph.input, *model.graph.output):
            for dim in info.type.tensor_type.shape.dim:
                dim.dim_value = dim.dim_value or BATCH_OF_DRAWS
    return model


def runs(model: onnx.ModelProto, batch: int) -> bool:
    """Does it run with so many samples?"""
    feed = {info.name: numbers(info, np.random.default_rng(0), batch) for info in model.graph.input}
    try:
        session(model).run(None, feed)
    except Exception:  # noqa: BLE001 - whatever the runtime says, it does not run
        return False
    return True


def numbers(info: onnx.ValueInfoProto, rng: np.random.Generator, batch: int) -> NDArray[np.generic]:
    """Normal floats, or whole numbers that every table has a row for."""
    shape = [dim.dim_value or batch for dim in info.type.tensor_type.shape.dim]
    if is_float(info):
        return rng.normal(size=shape).astype(np.float32)
    return rng.integers(0, ROWS, shape).astype(helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type))


def _followed(net: Net, piece: Piece, x: Value) -> Value:
    """The piece behind x, and now and then a block of the catalogue behind it."""
    places: dict[str, Value] = {}
    for info in piece.entries:
        shape = _shape(info)
        if not is_float(info):
            places[info.name] = _opened(net, info, shape)
        elif x.shape == shape:
            places[info.name] = x
        else:
            places[info.name] = net.require(Block("adaptor", lambda b, v, s=shape: _two(b, v, s), opset=1), x)
    first = next((places[info.name] for info in piece.entries if is_float(info)), x)
    name = piece.name.replace(" ", "-")
    y = net.grow(Block(name, lambda _, v: _spliced(net, piece, places, v), opset=1), first)
    if y is None or y.shape[0] != BATCH:  # the same for every sample, say: what it is added to is not
        y = net.grow(Block(name, lambda b, v: _added(b, _spliced(net, piece, places, first), v), opset=1), x)
        if y is None:  # numbers beside which those of x do not show, or none: a mistake before it would not either
            return x
    if net.b.opset >= OLDEST and net.b.chance(0.3) and prod(y.shape[1:]) <= ENTRIES:
        y = net.grow(choose(net.b, y), y) or y
    return y


def _opened(net: Net, info: onnx.ValueInfoProto, shape: Shape) -> Value:
    """A graph input of whole numbers."""
    value = Value(net.b.fresh(info.name), shape)
    declared = net.b.info(value, info.type.tensor_type.elem_type)
    net.inputs.append(declared)
    for feed in net.known:
        feed[value.name] = numbers(declared, net.b.rng, BATCH_OF_DRAWS)
    return value


def _shape(info: onnx.ValueInfoProto) -> Shape:
    """The shape of an entry, with the batch where its size is that of the draws or open."""
    dims = info.type.tensor_type.shape.dim
    sizes = [dim.dim_value or (BATCH if dim.dim_param in ("N", "n") else OTHER_SIZE) for dim in dims]
    return _with_batch(sizes)


def _with_batch(sizes: Sequence[int]) -> Shape:
    """The batch in place of the first size that is that of the draws."""
    shape = list(sizes)
    if BATCH not in shape and BATCH_OF_DRAWS in shape[:2]:
        shape[shape.index(BATCH_OF_DRAWS)] = BATCH
    return tuple(shape)


def _spliced(net: Net, piece: Piece, places: Mapping[str, Value], x: Value) -> Value:
    """Appends the nodes of a piece; what they give, all exits added up, with the batch in front."""
    b, since, prefix = net.b, len(net.b.nodes), net.b.fresh("p")
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in piece.model.graph.initializer}

    def call(name: str) -> str:
        return places[name].name if name in places else f"{prefix}_{name}"

    nodes = [renamed(node, call) for node in piece.nodes]
    b.nodes += nodes
    b.functions += [f for f in piece.model.functions if f not in b.functions]
    b.arrays |= {call(name): array for name, array in weights.items()}
    names = [call(name) for name in piece.exits]
    measured = net.measure(since, [onnx.ValueInfoProto(name=name) for name in names])[0]
    found = [_in_front(b, name, array) for name, array in zip(names, measured, strict=True)]
    y = found[0]
    for other in found[1:]:
        y = _added(b, y, other)
    return b.op("Add", y, x) if y.shape == x.shape and b.chance(0.4) else y


def _in_front(b: Builder, name: str, array: NDArray[np.generic]) -> Value:
    """A value of a piece as a float with the batch, or one sample, in front, of rank 2 to 4."""
    value = Value(name, _with_batch(array.shape))
    if array.dtype != np.float32:
        value = b.op("Cast", value, shape=value.shape, to=TensorProto.FLOAT)
    if BATCH not in value.shape:
        return b.op("Reshape", value, b.ints(1, -1), shape=(1, prod(value.shape)))
    at = value.shape.index(BATCH)
    if at:
        value = b.transpose(value, at, *(axis for axis in range(value.rank) if axis != at))
    if 2 <= value.rank <= 4:
        return value
    return b.op("Reshape", value, b.ints(-1, prod(value.shape[1:])), shape=(BATCH, prod(value.shape[1:])))


def _added(b: Builder, one: Value, two: Value) -> Value:
    """Features of both, added."""
    return b.op("Add", *(b.linear(_flat(b, value), WIDTH) for value in (one, two)))


def _flat(b: Builder, x: Value) -> Value:
    return x if x.rank == 2 else b.op("Flatten", x, shape=(x.shape[0], prod(x.shape[1:])), axis=1)


def _two(b: Builder, x: Value, shape: Shape) -> Value:
    """x brought to a shape, sometimes by two layers whose results are added."""
    y = to_shape(b, x, shape)
    return b.op("Add", y, to_shape(b, x, shape)) if b.chance(0.3) else y


def to_shape(b: Builder, x: Value, shape: Shape) -> Value:
    """A layer, or two, whose result has the shape; x has the batch in front."""
    if BATCH not in shape:
        row = b.linear(_flat(b, b.reduce("ReduceMean", x, 0)), prod(shape))
        return b.op("Reshape", row, b.ints(*shape), shape=shape)
    at = shape.index(BATCH)
    rest = shape[:at] + shape[at + 1 :]
    y = _channels(b, x, rest) if x.rank == len(shape) > 2 else _rows(b, x, rest)
    if not at:
        return y
    order = [*range(1, at + 1), 0, *range(at + 1, len(shape))]
    return b.transpose(y, *order)


def _rows(b: Builder, x: Value, rest: Shape) -> Value:
    """By way of features."""
    y = _flat(b, x)
    if y.shape[1] * prod(rest) > ENTRIES * WIDTH:
        y = b.linear(y, WIDTH)
    y = b.linear(y, prod(rest))
    return y if len(rest) == 1 else b.op("Reshape", y, b.ints(-1, *rest), shape=(BATCH, *rest))


def _channels(b: Builder, x: Value, rest: Shape) -> Value:
    """By a layer over channels, behind one over positions if there are to be others."""
    if x.rank == 3:
        if x.shape[1] != rest[0]:
            x = b.swap(b.linear(b.swap(x), rest[0]))
        return b.linear(x, rest[1])
    (c, *sides), (_, *wanted) = x.shape[1:], rest
    if sides != wanted:
        y = b.op("Reshape", x, b.ints(-1, c, prod(sides)), shape=(BATCH, c, prod(sides)))
        x = b.op("Reshape", b.linear(y, prod(wanted)), b.ints(-1, c, *wanted), shape=(BATCH, c, *wanted))
    return b.conv(x, rest[0], kernel=1)
