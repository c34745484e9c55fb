"""Blocks of any rank that forbid pruning their channels, do nothing at all, or compute shapes at run time."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from .blocks_join import even_width, project, wide
from .builder import Value
from .growing import Block
from .operators import Builder

FLOAT = TensorProto.FLOAT


def softmax_channels(b: Builder, x: Value) -> Value:
    return b.op("Mul", b.softmax(x, x.axis), b.scalar(float(x.width)))


def softmax_gate(b: Builder, x: Value) -> Value:
    """Softmax over the channels of one branch weighs another."""
    return b.op("Mul", b.softmax(project(b, x, x.width), x.axis), x)


def log_softmax(b: Builder, x: Value) -> Value:
    last = b.swap(x) if x.rank == 3 else x
    axis = 1 if x.rank == 4 and b.opset >= 13 else last.rank - 1
    y = b.op("LogSoftmax", last, axis=axis)
    return b.swap(y) if x.rank == 3 else y


def top_values(b: Builder, x: Value) -> Value:
    """The largest channels of each place, sorted."""
    k = x.width - 2
    shape = (*x.shape[: x.axis], k, *x.shape[x.axis + 1 :])
    return b.ops("TopK", [x, b.ints(k)], [shape, shape], axis=x.axis)[0]


def running_sum(b: Builder, x: Value) -> Value:
    return b.op("CumSum", x, b.const(np.int64(x.axis)), shape=x.shape, reverse=b.pick(0, 1))


def argmax_offset(b: Builder, x: Value) -> Value:
    """The number of the largest channel, as a float, added to all."""
    shape = (*x.shape[: x.axis], 1, *x.shape[x.axis + 1 :])
    index = b.op("ArgMax", x, shape=shape, axis=b.any_axis(x.axis, x.rank), keepdims=1)
    return b.op("Add", x, b.op("Mul", b.op("Cast", index, to=FLOAT), b.const(np.float32(0.1))))


def mean_over_channels(b: Builder, x: Value) -> Value:
    """Less the mean, or the largest, over channels."""
    kind = b.pick("ReduceMean", "ReduceMax", "ReduceMin", "ReduceLogSumExp")
    return b.op("Sub", x, b.reduce(kind, x, x.axis))


def sum_over_channels(b: Builder, x: Value) -> Value:
    """The sum over channels through a gate."""
    total = b.reduce(b.pick("ReduceSum", "ReduceL1", "ReduceSumSquare"), x, x.axis)
    return b.op("Mul", x, b.op("Sigmoid", total))


def picked_entries(b: Builder, x: Value) -> Value:
    """GatherElements: other channels for every place, by constant numbers expanded over the batch."""
    index = b.const(b.rng.integers(0, x.width, (1, *x.shape[1:])))
    index = b.expand(index, x.shape, like=x)
    return b.op("GatherElements", x, index, shape=x.shape, axis=x.axis)


def double_precision(b: Builder, x: Value) -> Value:
    """There and back, with one float64 constant a channel.

    Neither Mul inside nor a Cast at the end: ORT 1.31 fuses those into a norm of mixed types, and fails.
    """
    shift = b.rng.normal(size=(x.width,) + (1,) * (x.rank - 1 - x.axis))
    y = b.op("Sub", b.op("Cast", x, to=TensorProto.DOUBLE), b.const(shift))
    return b.op("Elu", b.op("Cast", y, to=FLOAT))


def does_nothing(b: Builder, x: Value) -> Value:
    """Identity, Dropout, a Reshape or Expand to its own shape, or a pair of transposes; then Elu."""
    return b.op("Elu", _unchanged(b, x))


def _unchanged(b: Builder, x: Value) -> Value:
    how = b.pick("identity", "dropout", "reshape", "transposes", "squeeze", "expand")
    if how == "identity":
        return b.op("Identity", x)
    if how == "dropout":
        return b.op("Dropout", x, ratio=0.3) if b.opset < 12 else b.op("Dropout", x)
    if how == "reshape":
        return b.op("Reshape", x, b.op("Shape", x, shape=(x.rank,)), shape=x.shape)
    if how == "transposes":
        return b.swap(b.swap(x))
    if how == "squeeze":
        return b.squeeze(b.unsqueeze(x, 1), 1)
    return b.op("Expand", x, b.ints(*[1] * x.rank), shape=x.shape)


def dropout_with_ratio(b: Builder, x: Value) -> Value:
    """Dropout with its ratio and mode as inputs, and its mask as an output nobody reads."""
    inputs = [x, b.const(np.float32(0.4)), b.const(np.bool_(False))]
    return b.op("Tanh", b.ops("Dropout", inputs, [x.shape, x.shape])[0])


def where_constant(b: Builder, x: Value) -> Value:
    """Where with a constant mask over channels and a learned filler."""
    tail = (1,) * (x.rank - 1 - x.axis)
    mask = b.const((b.rng.random((x.width, *tail)) < 0.7).reshape(1, *(1,) * (x.axis - 1), x.width, *tail))
    return b.op("Where", mask, x, b.normal(x.width, *tail))


def root_of_width(b: Builder, x: Value) -> Value:
    """Divide by the root of the number of channels, read off the shape at run time."""
    size = b.op("Cast", b.size_at(x, x.axis), shape=(1,), to=FLOAT)
    return b.op("Div", x, b.op("Sqrt", size))


def runtime_view(b: Builder, x: Value) -> Value:
    """(groups, width // groups) computed at run time from the width, scaled a group, viewed back."""
    taken = b.op("Shape", x, shape=(x.rank,))
    sizes = [b.size_at(x, i, taken) for i in range(x.rank)]
    half = b.op("Div", sizes[x.axis], b.ints(2))
    wanted = [*sizes[: x.axis], b.ints(2), half, *sizes[x.axis + 1 :]]
    shape = (*x.shape[: x.axis], 2, x.width // 2, *x.shape[x.axis + 1 :])
    y = b.op("Reshape", x, b.op("Concat", *wanted, shape=(len(wanted),), axis=0), shape=shape)
    tail = (1,) * (x.rank - x.axis)
    y = b.op("Mul", y, b.uniform(2, *tail))
    return b.op("Reshape", y, taken, shape=x.shape)


def runtime_half(b: Builder, x: Value) -> Value:
    """Slice off half of the channels, the bound computed from the shape; gate with the rest."""
    half = b.op("Div", b.size_at(x, x.axis), b.ints(2))
    shape = (*x.shape[: x.axis], x.width // 2, *x.shape[x.axis + 1 :])
    axis = b.ints(x.axis)
    low = b.op("Slice", x, b.ints(0), half, axis, shape=shape)
    high = b.op("Slice", x, half, b.ints(2**63 - 1), axis, shape=shape)
    return b.op("Mul", low, b.op("Tanh", high))


def conditional(b: Builder, x: Value) -> Value:
    """An If whose branches both read the value from outside."""
    names = [b.fresh("branch") for _ in range(2)]
    branches = []
    for kind, name in zip(("Elu", "Tanh"), names, strict=True):
        node = helper.make_node(kind, [x.name], [name])
        branches.append(helper.make_graph([node], name, [], [b.info(Value(name, x.shape))]))
    size = b.op("Size", x, shape=())
    test = b.op("Greater", size, b.const(np.int64(0)), shape=())
    return b.op("If", test, shape=x.shape, then_branch=branches[0], else_branch=branches[1])


def local_function(b: Builder, x: Value) -> Value:
    """A function defined in the model: a scaled SiLU with the scale as an input."""
    name = b.fresh("ScaledSilu")
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["g"]),
        helper.make_node("Mul", ["x", "g"], ["y"]),
    ]
    opsets = [helper.make_opsetid("", b.opset)]
    b.functions.append(helper.make_function("local", name, ["x", "scale"], ["y"], nodes, opsets))
    return b.op(name, x, b.per_channel(x), shape=x.shape, domain="local")


def two_groups(b: Builder, x: Value) -> Value:
    """Both halves through one layer with the same weights, put back together."""
    half = x.width // 2
    parts = b.split(x, [half, half], x.axis)
    tail = (1,) * (x.rank - 1 - x.axis)
    scale, shift = b.uniform(half, *tail), b.normal(half, *tail)
    return b.concat([b.op("Add", b.op("Mul", part, scale), shift) for part in parts], x.axis)


BLOCKS = (
    Block("softmax_channels", softmax_channels, 0.6),
    Block("softmax_gate", softmax_gate, 0.6),
    Block("log_softmax", log_softmax, 0.6),
    Block("top_values", top_values, 0.6, fits=wide),
    Block("running_sum", running_sum, 0.6),
    Block("argmax_offset", argmax_offset, 0.6),
    Block("mean_over_channels", mean_over_channels, 0.8),
    Block("sum_over_channels", sum_over_channels, 0.8),
    Block("picked_entries", picked_entries, 0.6),
    Block("double_precision", double_precision, 0.6),
    Block("does_nothing", does_nothing),
    Block("dropout_with_ratio", dropout_with_ratio, 0.6, 12),
    Block("where_constant", where_constant),
    Block("root_of_width", root_of_width),
    Block("runtime_view", runtime_view, fits=even_width),
    Block("runtime_half", runtime_half, fits=even_width),
    Block("conditional", conditional, 0.6),
    Block("local_function", local_function, 0.6),
    Block("two_groups", two_groups, fits=even_width),
)
