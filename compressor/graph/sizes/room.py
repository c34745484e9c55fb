"""Is there memory for a run at the sizes that were asked for? Told before it starts, because the system tells no one.

Where memory runs out while a process fills it, the kernel kills the process, and nobody hears why.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from compressor.core.formatting import quantity
from compressor.core.machine import free_memory
from compressor.errors import OutOfMemory
from compressor.graph.sizes.binding import Shape
from compressor.graph.sizes.shapes import Shapes

DRAWN_BYTES = 8
"""Bytes of a number as it is drawn at random, before it gets the type of its input."""


def demand_room(model: ir.Model, inputs: Mapping[str, Shape], shapes: Shapes) -> None:
    """Refuses a run that cannot fit into memory, however the runtime goes about it.

    Args:
        model: whose inputs are about to be made.
        inputs: their shapes.
        shapes: what is known of the model; of values inside only where they are at these shapes.

    Raises:
        OutOfMemory: with what is needed at least, and what there is.
    """
    free = free_memory()
    if free is None:
        return
    given = sum(_elements(inputs[str(v.name)]) * _size(v, shapes) for v in model.graph.inputs if str(v.name) in inputs)
    drawn = max((_elements(shape) * DRAWN_BYTES for shape in inputs.values()), default=0)
    # Sizes of values inside are known at the first probe alone.
    need = given + max(drawn, least(model.graph, shapes) if dict(inputs) == dict(shapes.inputs) else 0)
    if need > free:
        sizes = ", ".join(f"{name} {list(shape)}" for name, shape in inputs.items())
        raise OutOfMemory(
            f"a run with {sizes} needs at least {quantity(need, 'B')} of memory, and {quantity(free, 'B')} are free; "
            "give smaller sizes with --dim or --input-shape"
        )


def least(graph: ir.Graph, shapes: Shapes) -> int:
    """Bytes that some node has to have at the same time: what it reads that was computed, and what it writes."""
    return max((_held(node, shapes) for node in graph), default=0)


def _held(node: ir.Node, shapes: Shapes) -> int:
    # A value that is read twice is held once.
    read = {value for value in node.inputs if value is not None and value.producer() is not None}
    return sum(_bytes(value, shapes) for value in (*read, *node.outputs))


def _bytes(value: ir.Value, shapes: Shapes) -> int:
    shape = shapes(value)
    return 0 if shape is None else _elements(shape) * _size(value, shapes)


def _size(value: ir.Value, shapes: Shapes) -> int:
    dtype = shapes.dtype(value)
    # Types of less than a byte would round down to nothing.
    return 4 if dtype is None or dtype == ir.DataType.STRING else max(1, int(dtype.itemsize))


def _elements(shape: Shape) -> int:
    # With Python's numbers, which do not overflow as numpy's would.
    count = 1
    for size in shape:
        count *= size
    return count
