"""Values that hold one number everywhere: initial states, masks and paddings made at run time.

Any part of such a value equals any other part of the same size. So nobody has to say which positions of it go: it
follows whoever uses it, also behind operators that only move it about (Slice, Concat, Unsqueeze, Expand, Identity), and
two users of one value may keep different numbers of channels. After the cut, each takes as many positions as it needs
from the front of the value, which stays as it was for those that move it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from compressor.channels.rule import Rule
from compressor.graph.form.copies import give_reader
from compressor.graph.ir.edit import FreeNames
from compressor.graph.ir.meta_keys import COPY
from compressor.graph.ir.nodes import fill_number, input_of, record_of
from compressor.graph.sizes.shapes import Shapes

MANY = 2
"""Readers from which on each gets a copy: a lone one ties nothing together."""


@dataclass
class Fills:
    """Values that hold one number everywhere.

    Attributes:
        numbers: that number, by value.
        makers: nodes that make such a value by their own rule; all others only move one.
    """

    numbers: dict[ir.Value, float] = field(default_factory=dict)
    makers: set[ir.Node] = field(default_factory=set)

    def __contains__(self, value: ir.Value) -> bool:
        return value in self.numbers

    def moved_by(self, node: ir.Node) -> bool:
        """Does ``node`` only move a value that holds one number, so that it follows nothing and nothing follows it?"""
        return node not in self.makers and any(v in self.numbers for v in node.outputs)


def fills(graph: ir.Graph, shapes: Shapes, rules: Mapping[tuple[str, str], Rule]) -> Fills:
    """Every float value that is made to hold one number, or made of such values."""
    found = Fills()
    for node in graph.all_nodes():
        rule = record_of(node, rules)
        if rule is None or not all(_is_float(shapes, v) for v in node.outputs if v.name):
            continue
        data = [v for v in node.inputs if v is not None and _is_float(shapes, v)]
        numbers = {found.numbers.get(v) for v in data}
        if rule.spreads and not numbers - {None}:
            numbers = {_number(shapes, v) for v in data} if data else {fill_number(node)}
            # Only what spreads a single number has labels by its own rule; one that spreads a larger constant counts as
            # moving it.
            if all(_is_single(shapes, v) for v in data):
                found.makers.add(node)
        elif not (rule.rearranges or rule.spreads or (rule.overwrites and not _adds_up(node))):
            continue
        # Parts that hold different numbers, or one that is not known (None), make no value of one number.
        number = numbers.pop() if len(numbers) == 1 else None
        if number is not None:
            found.numbers |= dict.fromkeys(node.outputs, number)
    return found


def give_each_its_own(graph: ir.Graph, shapes: Shapes, rules: Mapping[tuple[str, str], Rule]) -> None:
    """Every node that reads a value which holds one number, and does more than move it, gets a copy of its own.

    Without it, layers that share their first state would have to keep the same channels. :func:`drop_copies` is the
    way back.
    """
    found, free = fills(graph, shapes, rules), FreeNames(graph)
    for value in list(found.numbers):
        # A node that reads the value twice is one user.
        users = [user for user in dict.fromkeys(user for user, _ in value.uses()) if not found.moved_by(user)]
        if len(users) < MANY or value.producer() is None:
            continue
        for number, user in enumerate(users):
            copy = ir.node("Identity", [value], name=f"{value.name}.for{number}.{user.name}")
            copy.meta[COPY] = True
            give_reader(user, value, copy, shapes, free)


def drop_copies(graph: ir.Graph) -> None:
    """Takes out what :func:`give_each_its_own` put in."""
    for node in [n for n in graph.all_nodes() if n.meta.get(COPY)]:
        source = input_of(node, 0)
        assert node.graph is not None
        node.outputs[0].replace_all_uses_with(source)
        # Safe: it raises if anybody still reads the copy.
        node.graph.remove(node, safe=True)


def _adds_up(node: ir.Node) -> bool:
    return node.attributes.get_string("reduction", "none") != "none"


def _is_float(shapes: Shapes, value: ir.Value) -> bool:
    dtype = shapes.dtype(value)
    return dtype is not None and dtype.is_floating_point()


def holds_one_number(shapes: Shapes, value: ir.Value) -> bool:
    """Is a value a constant of real numbers, all of which are one?"""
    return _is_float(shapes, value) and _number(shapes, value) is not None


def _is_single(shapes: Shapes, value: ir.Value) -> bool:
    data = shapes.const(value)
    return data is not None and data.size == 1


def _number(shapes: Shapes, value: ir.Value) -> float | None:
    """The number that a constant holds everywhere; None where it holds several."""
    data = shapes.const(value)
    if data is None or not data.size or not np.all(data == data.flat[0]):
        return None
    return float(data.flat[0])
