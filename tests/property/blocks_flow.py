"""Blocks with bodies, If, Loop and Scan, around blocks of the catalogue and around each other.

Bodies read weights and values from outside, hold weights of their own, return what they were given, and hand on states
that start as an activation, a weight or zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import GraphProto, TensorProto, helper

from .builder import Value
from .catalogue import BLOCKS
from .growing import Block
from .operators import Builder

DEPTH = 2
"""Bodies in bodies."""
ATTEMPTS = 8


def body(
    b: Builder, make: Callable[[], Sequence[Value]], given: Sequence[tuple[Value, int]] = (), *, go_on: bool = False
) -> GraphProto:
    """A graph of what ``make`` writes, with inputs of these types; ``go_on`` puts a true condition first."""
    outside, before, tables = b.nodes, set(b.arrays), list(b.tables)
    b.nodes = []
    results = list(make())
    nodes, b.nodes, b.tables = b.nodes, outside, tables
    name = b.fresh("body")
    made = {value for node in nodes for value in node.output}
    outputs = []
    for k, value in enumerate(results):  # a result has to be made in the graph, and each has a name of its own
        plain = value.name in made and value.name not in {v.name for v in outputs}
        outputs.append(value if plain else Value(f"{name}.result{k}", value.shape))
        if not plain:
            nodes.append(helper.make_node("Identity", [value.name], [outputs[-1].name], name=f"{name}.identity{k}"))
    shown = [b.info(value) for value in outputs]
    if go_on:
        truth = helper.make_tensor(f"{name}.true", TensorProto.BOOL, (), [True])
        nodes.append(helper.make_node("Constant", [], [f"{name}.go"], value=truth))
        shown.insert(0, helper.make_tensor_value_info(f"{name}.go", TensorProto.BOOL, ()))
    own = [key for key in b.arrays if key not in before and b.chance(0.5)]
    inputs = [b.info(value, kind) for value, kind in given]
    return helper.make_graph(nodes, name, inputs, shown, b.hand_over(own))


def inside(b: Builder, x: Value, depth: int) -> Value:
    """One or two blocks that keep the shape of ``x``."""
    for _ in range(int(b.rng.integers(1, 3))):
        x = _one(b, x, depth)
    return x


def _one(b: Builder, x: Value, depth: int) -> Value:
    table = [block for block in BLOCKS[x.rank] if block.allowed(b, x)]
    weights = np.array([block.weight for block in table])
    for _ in range(ATTEMPTS):
        mark, remembered = b.mark(), list(b.memory)
        if depth and b.chance(0.25):
            y = flow(b, x, depth - 1)
        else:
            y = table[int(b.rng.choice(len(table), p=weights / weights.sum()))].build(b, x)
        if y.shape == x.shape:
            return y
        b.rewind(mark)
        b.memory = remembered
    return b.op("Tanh", x)


def flow(b: Builder, x: Value, depth: int = DEPTH) -> Value:
    """Any of the three."""
    choices = [branches, iterated] + ([scanned] if x.rank == 3 and x.shape[1] > 0 else [])
    return choices[int(b.rng.integers(len(choices)))](b, x, depth)


def branches(b: Builder, x: Value, depth: int) -> Value:
    """An If over the sum of its input: two ways to make the same channels, one of which may be none."""
    one = body(b, lambda: [inside(b, x, depth)])
    two = body(b, lambda: [x if b.chance(0.2) else inside(b, x, depth)])
    total = b.op("ReduceSum", x, shape=(), keepdims=0)
    test = b.op("Greater", total, b.const(np.float32(0)), shape=())
    return b.op("If", test, shape=x.shape, then_branch=one, else_branch=two)


def iterated(b: Builder, x: Value, depth: int) -> Value:
    """A Loop with one state, or two that change places; the second starts as what ``x`` is, a weight, or zeros."""
    state = Value(b.fresh("state"), x.shape)
    second = Value(b.fresh("state"), x.shape)
    start = b.pick("none", "same", "weight", "zeros", "stacked")
    count, go = Value(b.fresh("i"), ()), Value(b.fresh("go"), ())
    given = [(count, TensorProto.INT64), (go, TensorProto.BOOL), (state, TensorProto.FLOAT)]
    first = [x]
    if start in ("same", "weight", "zeros"):
        given.append((second, TensorProto.FLOAT))
        first.append({"same": lambda: x, "weight": lambda: _weight(b, x), "zeros": lambda: _zeros(b, x)}[start]())

    def make() -> list[Value]:
        y = inside(b, state, depth)
        if len(first) > 1:
            y = b.op("Add", y, b.op("Mul", second, b.scalar(0.5), shape=x.shape))
            return [y, state if b.chance(0.5) else b.op("Tanh", y)]
        return [y, y] if start == "stacked" else [y]

    graph = body(b, make, given, go_on=True)
    limit = b.const(np.int64(b.pick(1, 2)))
    times = int(b.arrays[limit.name])
    shapes = [x.shape] * len(first) + ([(times, *x.shape)] if start == "stacked" else [])
    made = b.ops("Loop", [limit, None, *first], shapes, body=graph)
    if start == "stacked":
        return b.op("Add", made[0], b.op("Squeeze", _last(b, made[1], times), *_axes(b), shape=x.shape, **_axis(b)))
    return b.op("Add", made[0], made[1]) if len(first) > 1 and b.chance(0.5) else made[0]


def _axes(b: Builder) -> list[Value]:
    return [b.ints(0)] if b.opset >= 13 else []


def _axis(b: Builder) -> dict[str, list[int]]:
    return {} if b.opset >= 13 else {"axes": [0]}


def _last(b: Builder, x: Value, size: int) -> Value:
    return b.op("Slice", x, b.ints(size - 1), b.ints(size), b.ints(0), shape=(1, *x.shape[1:]))


def _weight(b: Builder, x: Value) -> Value:
    wide = b.normal(*(1 if size < 0 else size for size in x.shape))
    return b.op("Expand", wide, b.op("Shape", x, shape=(x.rank,)), shape=x.shape)


def _zeros(b: Builder, x: Value) -> Value:
    return b.op("ConstantOfShape", b.op("Shape", x, shape=(x.rank,)), shape=x.shape)


def scanned(b: Builder, x: Value, depth: int) -> Value:
    """A Scan over the tokens of its input that carries a state beside it."""
    features = (x.shape[0], x.shape[2])
    state, slice_ = Value(b.fresh("state"), features), Value(b.fresh("slice"), features)
    zero = _zeros(b, b.op("ReduceMean", x, shape=features, keepdims=0, **({"axes": [1]} if b.opset < 18 else {}))) \
        if b.opset < 18 else _zeros(b, b.op("ReduceMean", x, b.ints(1), shape=features, keepdims=0))  # fmt: skip

    def make() -> list[Value]:
        y = inside(b, b.op("Add", slice_, b.op("Mul", state, b.scalar(0.5), shape=features)), depth)
        return [b.op("Tanh", y), y]

    graph = body(b, make, [(state, TensorProto.FLOAT), (slice_, TensorProto.FLOAT)])
    made = b.ops("Scan", [zero, x], [features, x.shape], body=graph, num_scan_inputs=1,
                 scan_input_axes=[1], scan_output_axes=[1])  # fmt: skip
    return made[1]


BLOCKS_WITH_BODIES = (Block("flow", flow),)
