"""Shuffles along one axis, which exporters write as three nodes: Reshape, Transpose, Reshape.

What lies between them has rows of channels, which a Transpose could only turn if all of them lost the same columns.
As a Gather the shuffle takes each channel to its place, whichever of them are left. (On one thread of a CPU it takes
half the time, too.)
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.ir.edit import FreeNames, add_constant, put_before, take_over
from compressor.graph.ir.movement import MOVEMENT, Movement
from compressor.graph.ir.nodes import input_of, is_standard
from compressor.graph.sizes.dims import size_product
from compressor.graph.sizes.shape_rules import DimShape
from compressor.graph.sizes.shapes import Shapes


def write_shuffles_as_gathers(model: ir.Model, shapes: Shapes) -> bool:
    """Writes what only puts the entries along one axis into another order as a Gather; what is unused then stays.

    Returns:
        Whether there was any.
    """
    free = FreeNames(model.graph)
    nodes = [node for node in model.graph.all_nodes() if is_standard(node) and node.op_type == "Transpose"]
    return sum(_write(model.graph, node, shapes, free) for node in nodes) > 0


def _write(graph: ir.Graph, node: ir.Node, shapes: Shapes, free: FreeNames) -> bool:
    for source, last in _ends(node, shapes):
        found = _order(shapes.dims(source), shapes.dims(input_of(node, 0)), _permutation(node, shapes))
        if found is not None:
            axis, order = found
            index = add_constant(graph, f"{node.name}.order", order, free)
            gather = ir.node("Gather", [source, index], attributes={"axis": axis})
            made = put_before(last, gather, str(node.name), free)
            shapes.alias(made, last.outputs[0])
            take_over(last, made)
            return True
    return False


def _ends(node: ir.Node, shapes: Shapes) -> Iterator[tuple[ir.Value, ir.Node]]:
    """Values before a Transpose and nodes after it whose results have the same shape, with nothing but reshapes between
    them."""
    sources, value = [input_of(node, 0)], node.outputs[0]
    while (maker := sources[-1].producer()) is not None and _reshapes(maker):
        sources.append(input_of(maker, 0))
    while len(value.uses()) == 1 and not value.is_graph_output():
        ((reader, _),) = value.uses()
        if not _reshapes(reader) or reader.graph is not node.graph:
            return
        value = reader.outputs[0]
        shape = shapes.dims(value)
        yield from ((source, reader) for source in sources if shape is not None and shapes.dims(source) == shape)


def _reshapes(node: ir.Node) -> bool:
    return is_standard(node) and MOVEMENT.get(node.op_type) is Movement.SHAPE


def _permutation(node: ir.Node, shapes: Shapes) -> list[int]:
    rank = len(shapes.dims(input_of(node, 0)) or ())
    return list(node.attributes.get_ints("perm", ())) or list(range(rank))[::-1]


def _order(
    whole: DimShape | None, parts: DimShape | None, permutation: list[int]
) -> tuple[int, npt.NDArray[np.int64]] | None:
    """The axis of ``whole`` within which a Transpose of ``parts``, the same entries in another shape, moves entries.

    Returns:
        That axis, and which entry comes to each of its places; None where more than one axis is moved, or none.
    """
    if whole is None or parts is None:
        return None
    moved = [k for k, place in enumerate(permutation) if k != place]
    if not moved:
        return None
    for axis, size in enumerate(whole):
        # The axis is a run of parts, with the same numbers of entries before and behind.
        first = _run(whole[:axis], parts[: moved[0] + 1])
        behind = _run(whole[axis + 1 :][::-1], parts[moved[-1] :][::-1])
        if first is None or behind is None:
            continue
        own = range(first, len(parts) - behind)
        sizes = [parts[k] for k in own]
        numbers = [n for n in sizes if isinstance(n, int)]
        if len(numbers) == len(sizes) and prod(numbers) == size:
            places = np.arange(size, dtype=np.int64).reshape(numbers)
            return axis, places.transpose([permutation[k] - first for k in own]).ravel()
    return None


def _run(whole: DimShape, parts: DimShape) -> int | None:
    """How many of ``parts``, from the first on and without the last, have as many entries as ``whole``."""
    wanted = size_product(whole)
    return next((count for count in range(len(parts)) if size_product(parts[:count]) == wanted), None)
