"""Puts together what exporters take apart, so that training runs torch's own kernels: linear layers, GELU, attention.

The graph that is changed is a private copy; initializers keep their names, their layout and their users.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from types import MappingProxyType

import onnx_ir as ir

from compressor.graph.ir.exporter_metadata import OWN_PREFIX
from compressor.graph.ir.nodes import is_standard
from compressor.graph.ir.opsets import softmax_axes, version_of

DOMAIN = f"{OWN_PREFIX}fused"
"""Domain of nodes that stand for several."""


def fuse(graph: ir.Graph) -> None:
    """Replaces, in place, every place where a pattern is found and nothing else reads what lies within."""
    for node in list(graph):
        if not is_standard(node):
            continue
        for find in _PATTERNS.get(node.op_type, ()):
            found = find(node)
            if found is not None:
                end, new = found
                graph.insert_before(end, new)
                end.outputs[0].replace_all_uses_with(new.outputs[0], replace_graph_outputs=True)
                new.outputs[0].name, end.outputs[0].name = end.outputs[0].name, None
                # The node is gone, and with it whatever other patterns start at it.
                break
    _drop_dead(graph)


def _drop_dead(graph: ir.Graph) -> None:
    """Nodes that nobody reads any more; no other kind is touched."""
    # From the back, because a node is dead only when its readers are gone.
    for node in reversed(list(graph)):
        if node.op_type in _INNER and not any(v.uses() or v.is_graph_output() for v in node.outputs):
            graph.remove(node, safe=True)


Replacement = tuple[ir.Node, ir.Node]
"""The node whose output is replaced, and the one that replaces it."""


def _linear(node: ir.Node) -> Replacement | None:
    """Add(MatMul(x, w), b) with a matrix and a vector of the file."""
    for product, bias in _either(node):
        inner = _producer(product, "MatMul")
        weight, vector = _shape(inner.inputs[1] if inner is not None else None), _shape(bias)
        if inner is None or len(weight) != 2 or len(vector) != 1 or vector[0] not in (1, weight[1]):
            continue
        return node, _node(node, "Linear", (*inner.inputs, bias))
    return None


def _gelu(node: ir.Node) -> Replacement | None:
    """The product of x, one half and Add(Erf(x / sqrt(2)), 1), in any order."""
    x = _scaled(node.inputs[0], sqrt(0.5))
    plus = _only_user(node.outputs[0], "Add")
    if x is None or plus is None or not any(_is(v, 1.0) for v in plus.inputs):
        return None
    # Exporters multiply by x and by one half in either order, or halve x first.
    first = _only_user(plus.outputs[0], "Mul")
    if first is None:
        return None
    other = next(v for v in first.inputs if v is not plus.outputs[0])
    if _scaled(other, 0.5) is x:
        return first, _node(node, "Gelu", (x,), domain="")
    second = _only_user(first.outputs[0], "Mul")
    if second is None:
        return None
    last = next((v for v in second.inputs if v is not first.outputs[0]), None)
    if (other is x and _is(last, 0.5)) or (last is x and _is(other, 0.5)):
        return second, _node(node, "Gelu", (x,), domain="")
    return None


def _attention(node: ir.Node) -> Replacement | None:
    """MatMul(Softmax(MatMul(q, kt) * scale + mask), v), scale and mask or not."""
    end = _only_user(node.outputs[0], "MatMul")
    # The weights of the average stand in front of the values.
    if end is None or end.inputs[0] is not node.outputs[0] or not _runs_over_last(node):
        return None
    for scores, mask in (*_masked(node.inputs[0]), (node.inputs[0], None)):
        for raw, scale in (*_scales(scores), (scores, 1.0)):
            inner = _producer(raw, "MatMul")
            if inner is not None:
                operands = (*inner.inputs, end.inputs[1], *([mask] if mask is not None else []))
                return end, _node(node, "Attention", operands, scale=scale)
    return None


def _runs_over_last(node: ir.Node) -> bool:
    """Is a Softmax over the last axis alone? Of an unknown rank only an axis that counts from the back can tell."""
    value = node.inputs[0]
    rank = len(value.shape) if value is not None and value.shape is not None else 1 << 16  # more than any has
    axes = softmax_axes(node.attributes.get_int("axis", None), rank, version_of(node.graph))
    return axes == range(rank - 1, rank)


def _masked(value: ir.Value | None) -> Iterable[tuple[ir.Value, ir.Value | None]]:
    add = _producer(value, "Add")
    return _either(add) if add is not None else ()


def _scales(value: ir.Value | None) -> Iterable[tuple[ir.Value, float]]:
    """What is multiplied or divided by a number, and the factor."""
    for op in ("Mul", "Div"):
        node = _producer(value, op)
        if node is None:
            continue
        for inner, factor in _either(node):
            number = _number(factor)
            # A number divided by a value is no scaling of the value.
            if number and (op == "Mul" or inner is node.inputs[0]):
                yield inner, number if op == "Mul" else 1 / number


def _scaled(value: ir.Value | None, factor: float) -> ir.Value | None:
    """What is multiplied by ``factor``, or divided by its inverse, to give ``value``; None where it is no such
    product."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type not in ("Mul", "Div"):
        return None
    for inner, other in _either(node):
        number = _number(other)
        # As above: a value in the denominator is not scaled.
        if number and (node.op_type == "Mul" or inner is node.inputs[0]):
            number = number if node.op_type == "Mul" else 1 / number
            # Wide enough for sqrt(1/2) in float16, which is off by 8e-5, and for decimals that exporters cut short.
            return inner if abs(number - factor) < 1e-4 else None
    return None


def _either(node: ir.Node) -> Iterable[tuple[ir.Value, ir.Value]]:
    """The first two operands of ``node`` in both orders; none where one is missing."""
    a, b = node.inputs[0], node.inputs[1]
    if a is not None and b is not None:
        yield a, b
        yield b, a


def _producer(value: ir.Value | None, op: str) -> ir.Node | None:
    """The node of that kind which makes a value, if the value has one reader."""
    node = value.producer() if value is not None else None
    if value is None or node is None or node.op_type != op or not is_standard(node):
        return None
    return node if len(value.uses()) == 1 and not value.is_graph_output() else None


def _only_user(value: ir.Value, op: str) -> ir.Node | None:
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = next(iter(uses)).node
    return node if node.op_type == op and is_standard(node) and node.graph is value.graph else None


def _number(value: ir.Value | None) -> float | None:
    """The number that an initializer of one entry holds."""
    tensor = value.const_value if value is not None and value.is_initializer() else None
    # An input of the model may be another number in the next run.
    if value is None or tensor is None or value.is_graph_input() or tensor.size != 1 or len(tensor.shape) > 1:
        return None
    return float(tensor.numpy().reshape(()))


def _is(value: ir.Value | None, number: float) -> bool:
    return _number(value) == number


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    """Shape of an initializer, turned around where it is read through a transposition; () for anything else."""
    turned = False
    while value is not None and (node := value.producer()) is not None and node.op_type in ("Identity", "Transpose"):
        turned ^= node.op_type == "Transpose" and list(node.attributes.get_ints("perm", (1, 0))) == [1, 0]
        value = node.inputs[0]
    tensor = value.const_value if value is not None and value.is_initializer() else None
    shape = tuple(int(n) for n in tensor.shape.numpy()) if tensor is not None else ()
    return shape[::-1] if turned else shape


def _node(
    like: ir.Node, op: str, inputs: Iterable[ir.Value | None], *, domain: str = DOMAIN, scale: float | None = None
) -> ir.Node:
    attributes = [] if scale is None else [ir.AttrFloat32("scale", scale)]
    return ir.Node(domain, op, list(inputs), attributes, name=like.name)


_PATTERNS = MappingProxyType({"Add": (_linear,), "Erf": (_gelu,), "Softmax": (_attention,)})
_INNER = frozenset({"Add", "Div", "Erf", "MatMul", "Mul", "Softmax"})
