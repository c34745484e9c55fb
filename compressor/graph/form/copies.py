"""Copies along an axis that their readers would make by broadcasting: they are not made.

An exporter that expands a mask over all heads, once for all layers, says that heads of every layer are as many as each
other's. Arithmetic broadcasts by itself (ONNX, *Broadcasting in ONNX*), so the same follows from a mask of one head.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compressor.graph.ir.edit import FreeNames, add_constant
from compressor.graph.ir.elementwise import BROADCASTS, UNARY
from compressor.graph.ir.nodes import input_of, is_standard
from compressor.graph.sizes.dims import Dim, common_factor
from compressor.graph.sizes.known import initializer_of
from compressor.graph.sizes.shapes import Shapes


def write_tiles_as_expands(model: ir.Model, shapes: Shapes) -> None:
    """A Tile along axes of size 1 alone is an Expand to its repeats, of which 1 leaves an axis as it is.

    Its copies may follow their users: indices repeated over the channels that they gather, a token over an image.
    """
    for node in model.graph.all_nodes():
        if not is_standard(node) or node.op_type != "Tile":
            continue
        before, after = shapes.dims(input_of(node, 0)), shapes.dims(node.outputs[0])
        # An axis without positions has none whatever its repeats are.
        if before and after and all(b == 1 or (b == a and b != 0) for b, a in zip(before, after, strict=True)):
            node.op_type = "Expand"


def leave_out_copies(model: ir.Model, shapes: Shapes) -> None:
    """Lets Expand and ConstantOfShape write size 1 along axes where every reader broadcasts; ``shapes`` follow."""
    free = FreeNames(model.graph)
    for node in list(model.graph):
        if not is_standard(node) or node.op_type not in ("Expand", "ConstantOfShape"):
            continue
        narrowed = []
        for axis in _made_here(node, shapes):
            values = _one_is_enough(node.outputs[0], axis, shapes)
            for value in values:
                shapes.narrow(value, axis)
            narrowed += [axis] if values else []
        if narrowed:
            _ask_for_one(model.graph, node, narrowed, shapes, free)


def make_copies_apart(model: ir.Model, shapes: Shapes) -> None:
    """Several readers of copies get an Expand each, so that each may keep as many of them as it needs.

    Only where a size is no mere symbol, as channels are along no other axis. Whoever simplifies the graph later makes
    one of those that are still equal.
    """
    free = FreeNames(model.graph)
    for node in list(model.graph.all_nodes()):
        if not is_standard(node) or node.op_type != "Expand" or node.outputs[0].is_graph_output():
            continue
        made = node.outputs[0]
        readers = list(dict.fromkeys(user for user, _ in made.uses()))
        sizes = shapes.dims(made) or ()
        # A size such as 8 T has a factor that is known, which may count channels; a size such as T has none.
        if all(common_factor(sizes[axis]) == 1 for axis in _made_here(node, shapes)):
            continue
        for reader in readers[1:]:
            twin = ir.node("Expand", node.inputs, name=f"{node.name}.for.{reader.name}")
            give_reader(reader, made, twin, shapes, free).shape = made.shape


def give_reader(reader: ir.Node, value: ir.Value, twin: ir.Node, shapes: Shapes, free: FreeNames) -> ir.Value:
    """Has one reader of a value read the output of a node of its own, which holds the same.

    Args:
        reader: reads ``value``, once or more often.
        value: what a node makes.
        twin: not in the graph yet. It goes right behind the maker of ``value``, so that nodes stay sorted, and its name
            gets a number where it is taken.
        shapes: takes note of what ``twin`` makes.
        free: names of the graph.

    Returns:
        What ``twin`` makes.
    """
    maker, own = value.producer(), twin.outputs[0]
    assert maker is not None
    twin.name = free(str(twin.name))
    own.name, own.type = free(f"{twin.name}.out"), value.type
    shapes.alias(own, value)
    maker.append(twin)
    for index, read in enumerate(reader.inputs):
        if read is value:
            reader.replace_input_with(index, own)
    return own


def _made_here(node: ir.Node, shapes: Shapes) -> list[int]:
    """Axes of the output, counted from the last one (-1), along which the node makes copies."""
    after = shapes.dims(node.outputs[0]) or ()
    before = () if node.op_type == "ConstantOfShape" or node.inputs[0] is None else shapes.dims(node.inputs[0])
    if before is None:
        return []
    # From the last axis on, where broadcasting lines shapes up.
    places = range(-1, -len(after) - 1, -1)
    return [k for k in places if after[k] != 1 and (k < -len(before) or before[k] == 1)]


def _one_is_enough(value: ir.Value, axis: int, shapes: Shapes) -> dict[ir.Value, None]:
    """``value`` and what is made of it that may have size 1 along ``axis``; none where somebody needs the copies."""
    full = _size(value, axis, shapes)
    found = dict.fromkeys([value])
    # A result keeps its size where an operand has it that stays as it is. Which operands do is known when nothing is
    # found any more: of a mask and its opposite neither does, though each has the size of the other.
    while True:
        further = dict[ir.Value, None]()
        for read in found:
            if read.is_graph_output() or not read.uses():
                return {}
            for node, _ in read.uses():
                if not is_standard(node) or node.op_type not in BROADCASTS | UNARY:
                    return {}
                made = node.outputs[0]
                sizes = {_size(v, axis, shapes) for v in node.inputs if v is not None and v not in found}
                if made in found or full in sizes:
                    continue
                if sizes - {1} or _size(made, axis, shapes) != full:
                    return {}
                further[made] = None
        if not further:
            return found
        found |= further


def _size(value: ir.Value, axis: int, shapes: Shapes) -> Dim | None:
    """Of an axis counted from the last one, 1 where the value has no such axis; None where it is not known."""
    dims = shapes.dims(value)
    return None if dims is None else dims[axis] if -axis <= len(dims) else 1


def _ask_for_one(graph: ir.Graph, node: ir.Node, narrowed: Sequence[int], shapes: Shapes, free: FreeNames) -> None:
    """Overwrites the shape that ``node`` is asked for with 1 along these axes."""
    place = 0 if node.op_type == "ConstantOfShape" else 1
    target = input_of(node, place)
    constant = initializer_of(target)
    (count,) = shapes(target) or (0,)
    ones = np.isin(np.arange(-count, 0), list(narrowed))
    if constant is not None:
        sizes = np.where(ones, 1, constant.numpy())
        node.replace_input_with(place, add_constant(graph, f"{target.name}.narrow", sizes, free))
        return
    name = free(f"{target.name}.narrow")
    given = [
        add_constant(graph, f"{name}.axes", ones, free),
        add_constant(graph, f"{name}.one", np.asarray(1, np.int64), free),
    ]
    asked = ir.node("Where", [*given, target], name=name)
    asked.outputs[0].name, asked.outputs[0].type = free(f"{name}.out"), target.type
    shapes.alias(asked.outputs[0], target)
    node.prepend(asked)
    node.replace_input_with(place, asked.outputs[0])
