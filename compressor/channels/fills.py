"""Values that hold one number everywhere: initial states, masks and paddings made at run time.

Any part of such a value equals any other part of the same size. So nobody has to say which positions of it go: it
follows whoever uses it, also behind operators that only move it about (Slice, Concat, Unsqueeze, Expand, Identity), and
two users of one value may keep different numbers of channels. After the cut, each takes as many positions as it needs
from the front of the value, which stays as it was for those that move it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from compressor.graph.shapes import Shapes

COPY = "compressor.copy"
"""Marks the nodes that make copies, until they are taken out again."""
MANY = 2


def fills(graph: ir.Graph, shapes: Shapes, rules: Mapping[tuple[str, str], Any]) -> dict[ir.Value, ir.Value]:
    """Every float value that holds one number -> the value that this number first appeared in."""
    found: dict[ir.Value, ir.Value] = {}
    for node in graph:
        rule = rules.get((node.domain, node.op_type))
        if rule is None or not all(_is_float(shapes, v) for v in node.outputs if v.name):
            continue
        data = [v for v in node.inputs if v is not None and _is_float(shapes, v)]
        sources = {found.get(v) for v in data}
        if rule.spreads and all(_is_one_number(shapes, v) for v in data):
            found |= {v: v for v in node.outputs}
        elif rule.rearranges and len(sources) == 1 and (source := sources.pop()) is not None:
            found |= dict.fromkeys(node.outputs, source)
    return found


def keeps(node: ir.Node, found: Mapping[ir.Value, ir.Value]) -> bool:
    """Does ``node`` move a value that holds one number, so that it follows nothing and nothing follows it?"""
    return any(v in found and found[v] is not v for v in node.outputs)


def give_each_its_own(graph: ir.Graph, shapes: Shapes, rules: Mapping[tuple[str, str], Any]) -> None:
    """Every node that reads a value which holds one number, and does more than move it, gets a copy of its own.

    Without it, layers that share their first state would have to keep the same channels. :func:`drop_copies` is the
    way back.
    """
    found = fills(graph, shapes, rules)
    for value in list(found):
        users = [user for user in dict.fromkeys(user for user, _ in value.uses()) if not keeps(user, found)]
        producer = value.producer()
        if len(users) < MANY or producer is None:
            continue
        for number, user in enumerate(users):
            if user.graph is not graph:
                continue  # inside a branch, which reads the value as it is
            copy = ir.node("Identity", [value], name=f"{value.name}.for{number}.{user.name}")
            copy.meta[COPY] = True
            made = copy.outputs[0]
            made.name, made.type = f"{copy.name}.out", value.type
            shapes.alias(made, value)
            producer.append(copy)
            for index, read in enumerate(user.inputs):
                if read is value:
                    user.replace_input_with(index, made)


def drop_copies(graph: ir.Graph) -> None:
    """Takes out what :func:`give_each_its_own` put in."""
    for node in [n for n in graph if n.meta.get(COPY)]:
        source = node.inputs[0]
        assert source is not None
        node.outputs[0].replace_all_uses_with(source)
        graph.remove(node, safe=True)


def _is_float(shapes: Shapes, value: ir.Value) -> bool:
    dtype = shapes.dtype(value)
    return dtype is not None and dtype.is_floating_point()


def _is_one_number(shapes: Shapes, value: ir.Value) -> bool:
    data = shapes.const(value)
    return data is not None and data.size == 1
