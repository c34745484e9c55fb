"""Random graphs for the campaign: a network grown one block at a time, in ONNX protobufs and NumPy alone.

Shares nothing with the generator of the tests, so that what one forgets the other may meet. Every weight is drawn
from a continuous distribution, so that an entry can be recognised by its value after it moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Shape = list[Any]
ACTIVATIONS = ("Relu", "LeakyRelu", "Elu", "HardSigmoid", "Sigmoid", "Tanh", "Softplus", "Selu", "Abs", "Neg",
               "Identity")  # fmt: skip


@dataclass
class Live:
    """A value that the graph may go on from; ``shape`` holds numbers, and a letter for an open size."""

    name: str
    shape: Shape

    @property
    def kind(self) -> str:
        return {4: "image", 3: "tokens", 2: "vector"}.get(len(self.shape), "other")


@dataclass
class Graph:
    """A graph that grows.

    ``sums`` are nodes that run over channels, with the axis: of them zeroed weights alone do not say what the smaller
    graph has to give.
    """

    rng: np.random.Generator
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    live: list[Live] = field(default_factory=list)
    sums: list[tuple[str, int]] = field(default_factory=list)
    count: int = 0

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def add(self, op: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        made = [self.name("t") for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, name=self.name(op), **attributes))
        return made

    def one(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.add(op, list(inputs), **attributes)[0]

    def constant(self, array: NDArray[Any], stem: str = "k") -> str:
        name = self.name(stem)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *numbers: int) -> str:
        return self.constant(np.asarray(numbers, np.int64), "i")

    def weight(self, *shape: int, gain: float = 1.0, stem: str = "w") -> str:
        fan = max(1, int(np.prod(shape[1:])) if len(shape) > 1 else 1)
        return self.constant((self.rng.normal(0, gain / fan**0.5, shape) + 1e-4).astype(np.float32), stem)

    def positive(self, *shape: int) -> str:
        return self.constant(self.rng.uniform(0.5, 1.5, shape).astype(np.float32), "s")

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def grow(self, name: str, shape: Shape) -> None:
        self.live.append(Live(name, shape))

    def axes(self, op: str, value: str, axes: list[int], **attributes: Any) -> str:
        """An operator whose axes became an input at some operator set."""
        since = 13 if op in ("Squeeze", "Unsqueeze", "ReduceSum") else 18
        if self.opset >= since:
            return self.one(op, value, self.ints(*axes), **attributes)
        return self.one(op, value, axes=axes, **attributes)


Block = Callable[[Graph, Live], None]


# ---- images --------------------------------------------------------------------------------------------------------


def conv(g: Graph, v: Live) -> None:
    channels, out = v.shape[1], int(g.pick(4, 6, 8, 12, 16))
    groups = g.pick(1, 1, 1, channels, 2)
    if channels % groups or out % groups:
        groups = 1
    if groups == channels:
        out = channels * int(g.pick(1, 2))
    side = int(g.pick(1, 3))
    inputs = [v.name, g.weight(out, channels // groups, side, side)]
    if g.rng.random() < 0.6:
        inputs.append(g.weight(out, stem="b"))
    made = g.add("Conv", inputs, kernel_shape=[side, side], pads=[side // 2] * 4, group=groups)[0]
    g.grow(made, [v.shape[0], out, *v.shape[2:]])


def transposed(g: Graph, v: Live) -> None:
    out = int(g.pick(4, 6))
    made = g.one("ConvTranspose", v.name, g.weight(v.shape[1], out, 3, 3), pads=[1, 1, 1, 1])
    g.grow(made, [v.shape[0], out, *v.shape[2:]])


def batch_norm(g: Graph, v: Live) -> None:
    c = v.shape[1]
    made = g.one("BatchNormalization", v.name, g.positive(c), g.weight(c), g.weight(c), g.positive(c))
    g.grow(made, v.shape)


def activation(g: Graph, v: Live) -> None:
    op = g.pick(*ACTIVATIONS)
    g.grow(g.one(op, v.name), v.shape)


def prelu(g: Graph, v: Live) -> None:
    g.grow(g.one("PRelu", v.name, g.positive(v.shape[1], 1, 1)), v.shape)


def clip(g: Graph, v: Live) -> None:
    low, high = (g.constant(np.asarray(x, np.float32)) for x in (-0.5, 6.0))
    g.grow(g.one("Clip", v.name, low, high), v.shape)


def pool(g: Graph, v: Live) -> None:
    op = g.pick("MaxPool", "AveragePool")
    g.grow(g.one(op, v.name, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), v.shape)


def squeeze_excite(g: Graph, v: Live) -> None:
    c = v.shape[1]
    p = g.one("GlobalAveragePool", v.name)
    h = g.one("Relu", g.one("Conv", p, g.weight(4, c, 1, 1), g.weight(4)))
    s = g.one("Sigmoid", g.one("Conv", h, g.weight(c, 4, 1, 1), g.weight(c)))
    g.grow(g.one("Mul", v.name, s), v.shape)


def shuffle(g: Graph, v: Live) -> None:
    n, c, h, w = v.shape
    if c % 2:
        return
    lead = -1 if isinstance(n, str) else n
    r = g.one("Reshape", v.name, g.ints(lead, 2, c // 2, h, w))
    t = g.one("Transpose", r, perm=[0, 2, 1, 3, 4])
    g.grow(g.one("Reshape", t, g.ints(lead, c, h, w)), v.shape)


def to_tokens(g: Graph, v: Live) -> None:
    n, c, h, w = v.shape
    r = g.one("Reshape", v.name, g.ints(0, c, -1) if g.rng.random() < 0.5 else g.ints(0, 0, h * w))
    g.grow(g.one("Transpose", r, perm=[0, 2, 1]), [n, h * w, c])


def to_vector(g: Graph, v: Live) -> None:
    n, c = v.shape[:2]
    g.grow(g.one("Flatten", g.one("GlobalAveragePool", v.name)), [n, c])


def flattened(g: Graph, v: Live) -> None:
    n, c, h, w = v.shape
    if c * h * w <= 512:
        g.grow(g.one("Flatten", v.name), [n, c * h * w])


def instance_norm(g: Graph, v: Live) -> None:
    g.grow(g.one("InstanceNormalization", v.name, g.positive(v.shape[1]), g.weight(v.shape[1])), v.shape)


def resize(g: Graph, v: Live) -> None:
    if g.opset < 13:
        return
    scales = g.constant(np.asarray([1, 1, 1, 1], np.float32))
    g.grow(g.one("Resize", v.name, "", scales, mode="nearest"), v.shape)


# ---- along the channel axis of anything ---------------------------------------------------------------------------


def axis_of(v: Live) -> int:
    return 1 if v.kind == "image" else len(v.shape) - 1


def with_channels(v: Live, channels: int) -> Shape:
    shape = list(v.shape)
    shape[axis_of(v)] = channels
    return shape


def pieces(g: Graph, v: Live) -> None:
    """Split, and joined again in another order, added, or multiplied."""
    axis, c = axis_of(v), v.shape[axis_of(v)]
    if c % 2:
        return
    half = [c // 2] * 2
    if g.opset >= 13:
        a, b = g.add("Split", [v.name, g.ints(*half)], 2, axis=axis)
    else:
        a, b = g.add("Split", [v.name], 2, axis=axis, split=half)
    how = g.pick("join", "add", "gate")
    if how == "join":
        g.grow(g.one("Concat", b, a, axis=axis), v.shape)
    elif how == "add":
        g.grow(g.one("Add", a, b), with_channels(v, c // 2))
    else:
        g.grow(g.one("Mul", a, g.one("Sigmoid", b)), with_channels(v, c // 2))


def sliced(g: Graph, v: Live) -> None:
    axis, c = axis_of(v), v.shape[axis_of(v)]
    start, end, step = g.pick((0, c // 2, 1), (-1, -(2**31), -1), (1, 2**31, 2), (-100, c, 1), (c + 3, 0, -1))
    kept = len(range(c)[slice(start, None if step < 0 and end < -c else end, step)])
    if kept < 2:
        return
    bounds = [g.ints(start), g.ints(end), g.ints(axis), g.ints(step)]
    g.grow(g.one("Slice", v.name, *bounds), with_channels(v, kept))


def gathered(g: Graph, v: Live) -> None:
    axis, c = axis_of(v), v.shape[axis_of(v)]
    index = g.rng.permutation(c) if g.rng.random() < 0.7 else g.rng.integers(-c, c, c)
    g.grow(g.one("Gather", v.name, g.ints(*index.tolist()), axis=axis), v.shape)


def padded(g: Graph, v: Live) -> None:
    axis, rank = axis_of(v), len(v.shape)
    pads = [0] * (2 * rank)
    pads[axis], pads[axis + rank] = 1, 2
    g.grow(g.one("Pad", v.name, g.ints(*pads)), with_channels(v, v.shape[axis] + 3))


def scaled(g: Graph, v: Live) -> None:
    c = v.shape[axis_of(v)]
    shape = (c, 1, 1) if v.kind == "image" else (c,)
    op = g.pick("Mul", "Add", "Sub")
    g.grow(g.one(op, v.name, g.weight(*shape, stem="a")), v.shape)


def residual(g: Graph, v: Live) -> None:
    others = [o for o in g.live if o.shape == v.shape and o.name != v.name]
    if others:
        g.grow(g.one(g.pick("Add", "Add", "Mul", "Max"), v.name, g.pick(*others).name), v.shape)


def joined(g: Graph, v: Live) -> None:
    axis = axis_of(v)
    others = [o for o in g.live if len(o.shape) == len(v.shape) and with_channels(o, 0) == with_channels(v, 0)]
    other = g.pick(*others)
    channels = v.shape[axis] + other.shape[axis]
    if channels <= 48:
        g.grow(g.one("Concat", v.name, other.name, axis=axis), with_channels(v, channels))


def averaged(g: Graph, v: Live) -> None:
    """The mean over channels, as gates of attention in space use it."""
    m = g.axes(g.pick("ReduceMean", "ReduceMax", "ReduceSum"), v.name, [axis_of(v)], keepdims=1)
    g.sums.append((g.nodes[-1].name, axis_of(v)))
    g.grow(g.one("Mul", v.name, g.one("Sigmoid", m)), v.shape)


# ---- tokens and vectors -------------------------------------------------------------------------------------------


def dense(g: Graph, v: Live) -> None:
    c, out = v.shape[-1], int(g.pick(4, 6, 8, 12, 16))
    if v.kind == "vector" and g.rng.random() < 0.5:
        turned = bool(g.rng.random() < 0.5)
        w = g.weight(out, c) if turned else g.weight(c, out)
        made = g.one("Gemm", v.name, w, g.weight(out), transB=int(turned))
    elif v.kind == "tokens" and g.opset >= 12 and g.rng.random() < 0.2:
        made = g.one("Einsum", v.name, g.weight(c, out), equation="btc,cd->btd")
    else:
        made = g.one("MatMul", v.name, g.weight(c, out, gain=c**0.5 / out**0.5))
        if g.rng.random() < 0.6:
            made = g.one("Add", made, g.weight(out, stem="b"))
    g.grow(made, [*v.shape[:-1], out])


def layer_norm(g: Graph, v: Live) -> None:
    if g.opset < 17:
        return
    c = v.shape[-1]
    g.grow(g.one("LayerNormalization", v.name, g.positive(c), g.weight(c), axis=-1), v.shape)
    g.sums.append((g.nodes[-1].name, len(v.shape) - 1))


def attention(g: Graph, v: Live) -> None:
    """Heads by reshape and transpose; queries, keys and values from three weights or from one that is split."""
    n, t, c = v.shape
    heads, inner = int(g.pick(1, 2, 3)), int(g.pick(2, 4))
    width = heads * inner
    if g.rng.random() < 0.5:
        q, k, x = (g.one("MatMul", v.name, g.weight(c, width)) for _ in range(3))
    else:
        all_three = g.one("MatMul", v.name, g.weight(c, 3 * width))
        q, k, x = (g.one("Slice", all_three, g.ints(i * width), g.ints((i + 1) * width), g.ints(2)) for i in range(3))
    split = g.ints(0, 0, heads, inner)
    q, k, x = (g.one("Transpose", g.one("Reshape", y, split), perm=[0, 2, 1, 3]) for y in (q, k, x))
    scores = g.one("MatMul", q, g.one("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g.one("Mul", scores, g.constant(np.asarray(inner**-0.5, np.float32)))
    mixed = g.one("MatMul", g.one("Softmax", scores, axis=-1), x)
    back = g.one("Reshape", g.one("Transpose", mixed, perm=[0, 2, 1, 3]), g.ints(0, 0, width))
    g.grow(g.one("MatMul", back, g.weight(width, c)), [n, t, c])


def recurrent(g: Graph, v: Live) -> None:
    n, t, c = v.shape
    hidden, ways = int(g.pick(4, 6)), int(g.pick(1, 2))
    op, gates = g.pick(("LSTM", 4), ("GRU", 3), ("RNN", 1))
    x = g.one("Transpose", v.name, perm=[1, 0, 2])
    weights = [g.weight(ways, gates * hidden, c), g.weight(ways, gates * hidden, hidden)]
    bias = g.weight(ways, 2 * gates * hidden, stem="b") if g.rng.random() < 0.5 else ""
    inputs = [x, *weights, bias]
    if g.rng.random() < 0.4:
        batch = g.one("Gather", g.one("Shape", v.name), g.ints(0), axis=0)
        zero = g.one("ConstantOfShape", g.one("Concat", g.ints(ways), batch, g.ints(hidden), axis=0))
        inputs += ["", *([zero, g.one("Identity", zero)] if op == "LSTM" else [zero])]
    direction = "bidirectional" if ways == 2 else "forward"
    y = g.add(op, inputs, hidden_size=hidden, direction=direction)[0]
    y = g.one("Transpose", y, perm=[2, 0, 1, 3])
    g.grow(g.one("Reshape", y, g.ints(0, 0, ways * hidden)), [n, t, ways * hidden])


def pooled(g: Graph, v: Live) -> None:
    g.grow(g.axes("ReduceMean", v.name, [1], keepdims=0), [v.shape[0], v.shape[2]])


def class_token(g: Graph, v: Live) -> None:
    g.grow(g.one("Gather", v.name, g.constant(np.asarray(0, np.int64)), axis=1), [v.shape[0], v.shape[2]])


def branch(g: Graph, v: Live) -> None:
    """Branches that read a value from outside."""
    out = {}
    for key, op in (("then_branch", "Relu"), ("else_branch", "Tanh")):
        made = g.name("branch")
        node = helper.make_node(op, [v.name], [made], name=g.name(op))
        shape = [None if isinstance(s, str) else s for s in v.shape]
        info = helper.make_tensor_value_info(made, TensorProto.FLOAT, shape)
        out[key] = helper.make_graph([node], g.name("body"), [], [info])
    g.grow(g.one("If", g.constant(np.asarray(bool(g.rng.random() < 0.5)), "c"), **out), v.shape)


def foreign(g: Graph, v: Live) -> None:
    """An operator of ONNX Runtime that has no rule."""
    g.nodes.append(
        helper.make_node("SampleOp", [v.name], [made := g.name("t")], name=g.name("Sample"), domain="com.microsoft")
    )
    g.grow(made, v.shape)


ANY: tuple[Block, ...] = (activation, activation, clip, pieces, sliced, gathered, padded, scaled, residual, residual,
                          joined, averaged)  # fmt: skip
RARE: tuple[Block, ...] = (branch, foreign)
BLOCKS: dict[str, tuple[Block, ...]] = {
    "image": (conv, conv, conv, conv, transposed, batch_norm, prelu, pool, squeeze_excite, shuffle, instance_norm,
              resize, to_tokens, to_vector, flattened),
    "tokens": (dense, dense, dense, layer_norm, attention, attention, recurrent, pooled, class_token),
    "vector": (dense, dense, dense, layer_norm),
}  # fmt: skip


def random_graph(seed: int) -> tuple[onnx.ModelProto, list[tuple[str, int]]]:
    """A model, and the nodes of it that run over channels, with the axis."""
    rng = np.random.default_rng([seed, 77])
    g = Graph(rng, int(rng.choice([11, 13, 15, 17, 18, 20, 21])))
    first: Shape = [["N", 4, 6, 6], ["N", "T", 6], ["N", 8], [2, 3, 6, 6]][int(rng.integers(4))]
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, first))
    g.grow("x", first)
    starts: dict[str, Block] = {"image": conv, "tokens": dense, "vector": dense}
    starts[g.live[0].kind](g, g.live[0])
    for _ in range(int(rng.integers(3, 14))):
        recent = g.live[-3:] if rng.random() < 0.85 else g.live[1:]
        value = g.pick(*recent)
        if value.name == "x":
            continue
        pool_of = RARE if rng.random() < 0.04 else ANY if rng.random() < 0.45 else BLOCKS[value.kind]
        g.pick(*pool_of)(g, value)
    read = {name for node in g.nodes for name in node.input}
    ends = [v for v in g.live[1:] if v.name not in read][-3:]
    for value in ends:
        starts[value.kind](g, value)
    outputs = g.live[-len(ends) :]
    infos = [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in outputs]
    graph = helper.make_graph(g.nodes, "campaign", g.inputs, infos, g.weights)
    imports = [helper.make_opsetid("", g.opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9), g.sums
