"""Graphs that grow in one direction each, for ``scaling.py``: long chains, wide joins, many constants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 4
OPSET = 18
IR_VERSION = 8
IMAGE = (1, CHANNELS, 4, 4)
KERNEL = (CHANNELS, CHANNELS, 1, 1)


class _Graph:
    """Nodes and weights as they are added; weights are drawn from one seed."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._draw = np.random.default_rng(0)

    def weight(self, *shape: int) -> str:
        name = f"w{len(self._weights)}"
        array = self._draw.normal(0, 0.5, shape).astype(np.float32)
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, inputs: Iterable[str], **attributes: int) -> str:
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=f"n{len(self._nodes)}", **attributes))
        return name

    def convolution(self, value: str, inputs: int = CHANNELS) -> str:
        return self.add("Conv", [value, self.weight(CHANNELS, inputs, 1, 1)])

    def model(self, result: str) -> onnx.ModelProto:
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE)
        made = helper.make_tensor_value_info(result, TensorProto.FLOAT, IMAGE)
        graph = helper.make_graph(self._nodes, "scaling", [given], [made], self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def chain(size: int) -> onnx.ModelProto:
    """``size`` nodes one behind the other: convolutions and activations in turn."""
    graph = _Graph()
    value = graph.convolution("x")
    for _ in range(size // 2 - 1):
        value = graph.convolution(graph.add("Relu", [value]))
    return graph.model(value)


def concat(size: int) -> onnx.ModelProto:
    """``size`` convolutions side by side, joined by one Concat."""
    graph = _Graph()
    parts = [graph.convolution("x") for _ in range(size)]
    return graph.model(graph.convolution(graph.add("Concat", parts, axis=1), CHANNELS * size))


def total(size: int) -> onnx.ModelProto:
    """``size`` convolutions side by side, added up by one Sum."""
    graph = _Graph()
    parts = [graph.convolution("x") for _ in range(size)]
    return graph.model(graph.convolution(graph.add("Sum", parts)))


def constants(size: int) -> onnx.ModelProto:
    """One convolution and ``size`` initializers, added up by one Sum."""
    graph = _Graph()
    parts = [graph.convolution("x"), *(graph.weight(CHANNELS, 1, 1) for _ in range(size))]
    return graph.model(graph.convolution(graph.add("Sum", parts)))


def biases(size: int) -> onnx.ModelProto:
    """One convolution and ``size`` initializers, added one after the other."""
    graph = _Graph()
    value = graph.convolution("x")
    for _ in range(size):
        value = graph.add("Add", [value, graph.weight(CHANNELS, 1, 1)])
    return graph.model(graph.convolution(value))


GRAPHS: Mapping[str, Callable[[int], onnx.ModelProto]] = MappingProxyType(
    {made.__name__: made for made in (chain, concat, total, constants, biases)}
)
