"""A small typed builder of ONNX graphs that writes every operator as the chosen operator set wants it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

BATCH = -1
"""A dimension of -k means k times the batch size, so that a fixed and a symbolic batch are written alike."""

IR_VERSION = 10
INT_MAX = 2**63 - 1
Choice = TypeVar("Choice")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A name in the graph and its shape; negative dimensions carry the batch."""

    name: str
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def axis(self) -> int:
        """Where the channels are: axis 1 of an image (N,C,H,W), otherwise the last axis."""
        return 1 if self.rank == 4 else self.rank - 1

    @property
    def width(self) -> int:
        """The number of channels."""
        return self.shape[self.axis]


@dataclass(frozen=True)
class Style:
    """How one imaginary exporter writes: the habits that differ between files, not between networks."""

    constant_nodes: bool = False
    node_names: bool = True
    merge_constants: bool = False
    negative_axes: float = 0.3
    runtime_shapes: float = 0.1
    shared_bias: float = 0.15
    wrapped_weight: float = 0.05
    weights_as_inputs: bool = False


def broadcast(*shapes: Shape) -> Shape:
    """numpy's broadcasting, with the batch as one more size."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*padded, strict=True):
        distinct = set(sizes) - {1}
        assert len(distinct) <= 1, f"{shapes} do not broadcast"
        result.append(distinct.pop() if distinct else 1)
    return tuple(result)


def reads(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Every name that nodes read, those in their bodies included."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from reads(attribute.g.node)


class Graph:
    """Nodes and initializers under construction, and the source of randomness; knows no operator."""

    def __init__(self, rng: np.random.Generator, opset: int, batch: int | None, style: Style) -> None:
        self.rng = rng
        self.opset = opset
        self.batch = batch
        self.style = style
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, NDArray[Any]] = {}
        self.functions: list[onnx.FunctionProto] = []
        self.memory: list[Value] = []
        self.tables: list[Value] = []
        self._shared: dict[Any, Value] = {}
        self._count = 0

    # randomness
    def pick(self, *choices: Choice) -> Choice:
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    # nodes
    def fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def op(self, kind: str, *inputs: Value | None, shape: Shape | None = None, **attributes: Any) -> Value:
        """Add a node with one output; without `shape` it is that of the inputs broadcast together."""
        if shape is None:
            shape = broadcast(*(value.shape for value in inputs if value is not None))
        return self.ops(kind, inputs, [shape], **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[Value | None], shapes: Sequence[Shape], **attributes: Any) -> list[Value]:
        """Add a node with several outputs."""
        outputs = [Value(self.fresh(kind.lower()), tuple(shape)) for shape in shapes]
        names = ["" if value is None else value.name for value in inputs]
        label = self.fresh(f"n_{kind}") if self.style.node_names else ""
        written = [value.name for value in outputs]
        self.nodes.append(helper.make_node(kind, names, written, name=label, **attributes))
        return outputs

    # constants
    def const(self, array: Any, *, stem: str = "c") -> Value:
        """A constant; equal ones become one initializer where the style merges constants."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if self.style.merge_constants and key in self._shared:
            return self._shared[key]
        value = Value(self.fresh(stem), array.shape)
        self.arrays[value.name] = array
        self._shared[key] = value
        return value

    def ints(self, *values: int) -> Value:
        return self.const(np.array(values, np.int64))

    def scalar(self, value: float | np.float32) -> Value:
        """A float constant of rank 0 or 1, as exporters write both."""
        return self.const(np.full(self.pick((), (1,)), value, np.float32))

    def weight(self, *shape: int, fan_in: int, gain: float = 1.0) -> Value:
        """A kernel whose slices differ in size along the first and the last axis, so that rankings do."""
        array = self.rng.normal(0, gain / np.sqrt(fan_in), shape)
        array *= self.rng.uniform(0.5, 1.5, (shape[0],) + (1,) * (len(shape) - 1))
        array *= self.rng.uniform(0.7, 1.3, shape[-1:])
        value = self.const(array.astype(np.float32), stem="w")
        return self.op("Identity", value) if self.chance(self.style.wrapped_weight) else value

    def normal(self, *shape: int, mean: float = 0.0, std: float = 0.3) -> Value:
        return self.const(self.rng.normal(mean, std, shape).astype(np.float32), stem="p")

    def uniform(self, *shape: int, low: float = 0.5, high: float = 1.5) -> Value:
        return self.const(self.rng.uniform(low, high, shape).astype(np.float32), stem="p")

    def bias(self, size: int) -> Value:
        """A bias; sometimes one that another node already has."""
        key = ("bias", size)
        if key in self._shared and self.chance(self.style.shared_bias):
            return self._shared[key]
        self._shared[key] = self.normal(size)
        return self._shared[key]

    def hand_over(self, names: Iterable[str]) -> list[TensorProto]:
        """Constants as tensors for somebody else to hold; they are forgotten here."""
        gone = set(names)
        tensors = [numpy_helper.from_array(self.arrays.pop(name), name) for name in list(self.arrays) if name in gone]
        self._shared = {key: value for key, value in self._shared.items() if value.name in self.arrays}
        self.tables = [value for value in self.tables if value.name not in gone]
        return tensors

    # undo
    def mark(self) -> tuple[int, int, int]:
        return len(self.nodes), len(self.arrays), len(self.functions)

    def rewind(self, mark: tuple[int, int, int]) -> None:
        """Forget everything added since the mark."""
        nodes, arrays, functions = mark
        del self.nodes[nodes:], self.functions[functions:]
        for name in list(self.arrays)[arrays:]:
            del self.arrays[name]
        self._shared = {key: value for key, value in self._shared.items() if value.name in self.arrays}

    # files
    def info(self, value: Value, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        dims: list[int | str | None] = []
        for size in value.shape:
            if size > 0:
                dims.append(size)
            elif self.batch is not None:
                dims.append(-size * self.batch)
            else:
                dims.append("N" if size == BATCH else None)
        return helper.make_tensor_value_info(value.name, dtype, dims)

    def opsets(self) -> list[onnx.OperatorSetIdProto]:
        domains = sorted({one.domain for one in (*self.functions, *self.nodes)} - {""})
        return [helper.make_opsetid("", self.opset), *(helper.make_opsetid(domain, 1) for domain in domains)]

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[Value]) -> onnx.ModelProto:
        """The finished file: constants as initializers, or as Constant nodes ahead of their first user."""
        as_nodes = set(self.arrays) if self.style.constant_nodes else set()
        as_nodes = {name for name in as_nodes if self.arrays[name].size <= 8}
        nodes: list[onnx.NodeProto] = []
        for node in self.nodes:
            for name in reads([node]):
                if name in as_nodes:
                    as_nodes.remove(name)
                    tensor = numpy_helper.from_array(self.arrays[name])
                    nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            nodes.append(node)
        written = {node.output[0] for node in nodes if node.op_type == "Constant"}
        used = set(reads(self.nodes)) - written
        tensors = [numpy_helper.from_array(a, name) for name, a in self.arrays.items() if name in used]
        listed = list(inputs)
        if self.style.weights_as_inputs:
            listed += [self.info(Value(t.name, tuple(t.dims))) for t in tensors if t.data_type == TensorProto.FLOAT]
        graph = helper.make_graph(nodes, "g", listed, [self.info(v) for v in outputs], tensors)
        return self.wrap(graph)

    def wrap(self, graph: onnx.GraphProto) -> onnx.ModelProto:
        """A model of the graph, with this builder's operator sets and functions."""
        return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=self.opsets(), functions=self.functions)
