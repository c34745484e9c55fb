"""Walks over a parsed ONNX model that is not trusted yet: its graphs, functions, attributes and tensors."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator

import onnx

from compressor.errors import ModelError

Body = onnx.GraphProto | onnx.FunctionProto

MAX_SUBGRAPH_DEPTH = 30
"""Graphs nested in graphs (If in Loop in Scan ...): protobuf reads no message that is nested over 100 deep, and each
graph takes three levels of it."""

LONGEST_NAME = 100
"""Characters of a name that a message shows, quotes included."""


def quoted(name: str) -> str:
    """The name in quotes, escaped and shortened, so that a hostile one cannot spoil a message."""
    shown = reprlib.Repr()
    shown.maxstring = LONGEST_NAME
    return shown.repr(name)


def node_label(node: onnx.NodeProto) -> str:
    """How messages call a node: by its name, or by its first output where it has none."""
    called = quoted(node.name) if node.name else f"that writes {quoted(next(iter(node.output), ''))}"
    return f"{node.op_type or 'untyped'} node {called}"


def innermost(error: BaseException) -> str:
    """In one line, what the error at the root of a chain of errors says."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300] or type(error).__name__


def subgraphs(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.GraphProto]:
    """Graphs held by attributes, whatever type the attributes claim to be."""
    for attribute in attributes:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def attributes(body: Body) -> Iterator[onnx.AttributeProto]:
    """Attributes of the body's own nodes, and the defaults of a function's parameters."""
    for node in body.node:
        yield from node.attribute
    if isinstance(body, onnx.FunctionProto):
        yield from body.attribute_proto


def nested(body: Body) -> Iterator[Body]:
    """The body and every graph in it, outermost first.

    Raises:
        ModelError: graphs are nested deeper than ``MAX_SUBGRAPH_DEPTH``.
    """
    # A list and no recursion, so that a file cannot use up Python's stack.
    pending = [(body, 0)]
    while pending:
        current, depth = pending.pop()
        if depth > MAX_SUBGRAPH_DEPTH:
            raise ModelError(f"graphs are nested over {MAX_SUBGRAPH_DEPTH} deep; flatten the control flow")
        yield current
        pending.extend((graph, depth + 1) for graph in subgraphs(attributes(current)))


def bodies(model: onnx.ModelProto) -> Iterator[Body]:
    """Every graph and function body of the model, the main graph first."""
    yield from nested(model.graph)
    for function in model.functions:
        yield from nested(function)


def tensors(body: Body) -> Iterator[onnx.TensorProto]:
    """Tensors of one body, not of the graphs in it: initializers and attributes.

    Raises:
        ModelError: an attribute holds a sparse tensor, which the model in memory cannot represent.
    """
    if isinstance(body, onnx.GraphProto):
        yield from body.initializer
    for attribute in attributes(body):
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise ModelError(f"attribute {quoted(attribute.name)} holds a sparse tensor; make it dense")
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
