"""How much of an open axis the layers of a graph see at once, and how far apart their results stand on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compressor.graph.sizes.binding import Shape
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.table import operator_of

ANY_STRIDE = 2**20 * 3**4 * 5**4 * 7**2 * 11 * 13
FAR_LENGTHS = (ANY_STRIDE, 2 * ANY_STRIDE)
"""Lengths at which sizes inside are compared: multiples of any usual stride, and beyond any kernel."""


@dataclass(frozen=True)
class Reach:
    """What layers see of one axis of an input.

    Attributes:
        extent: positions that one result of the last layers comes from; padding does not lessen it.
        step: positions from one result to the next, where layers have the fewest: the product of strides.
        window: positions that the widest single layer spans; on fewer, some of its weights see padding alone.
        lost: positions at the borders that no result stands for, as layers without padding leave them out.
    """

    extent: int = 1
    step: float = 1.0
    window: int = 1
    lost: int = 0


def reach_of(model: ir.Model, shapes: Shapes, name: str, axis: int) -> Reach:
    """The reach of all layers along ``axis`` of input ``name``, whose size is open.

    Kernels are read off their nodes. Strides are read off sizes at two lengths, so that whatever makes fewer positions
    (pooling, frames of a transform, slices) counts as one.

    Args:
        model: normalised; not changed.
        shapes: of that model, where the axis has a symbol.
        name: of the input.
        axis: counted with that of samples.
    """
    near, far = (_stretched(shapes, name, axis, length) for length in FAR_LENGTHS)
    start = next(v for v in model.graph.inputs if v.name == name)
    extents, steps = {start: 1.0}, {start: 1.0}
    window, lost = 1.0, 0.0
    for node in model.graph:
        read = [v for v in node.inputs if v in extents and v is not None]
        if not read:
            continue
        seen, before = max(extents[v] for v in read), max(steps[v] for v in read)
        for out in node.outputs:
            grown = _growth(shapes, out, near, far)
            after, short = grown if grown is not None else (before, 0.0)
            # Behind a transposed convolution positions are closer together, and its kernel covers less of the input.
            span = (_kernel(node, shapes) - 1) * min(before, after)
            extents[out], steps[out] = seen + span, after
            window, lost = max(window, 1 + span), max(lost, short)
    return Reach(int(max(extents.values())), max(steps.values()), int(window), int(lost))


def _stretched(shapes: Shapes, name: str, axis: int, length: int) -> dict[str, Shape]:
    """Sizes of the inputs where ``axis`` of ``name``, and whatever else has its symbol, is ``length``."""
    wanted = shapes.declared[name][axis]
    return {
        other: tuple(length if dim == wanted else size for dim, size in zip(dims, shapes.inputs[other], strict=True))
        for other, dims in shapes.declared.items()
    }


def _growth(
    shapes: Shapes, value: ir.Value, near: Mapping[str, Shape], far: Mapping[str, Shape]
) -> tuple[float, float] | None:
    """Positions of the input for each of ``value``, and those that none of them stands for.

    None where no axis of it is known to grow with the input.
    """
    pairs = zip(shapes.at(value, near) or (), shapes.at(value, far) or (), strict=True)
    grown = [(more - less, less) for less, more in pairs if less is not None and more is not None and more > less]
    if not grown:
        return None
    more, less = min(grown)
    step = (FAR_LENGTHS[1] - FAR_LENGTHS[0]) / more
    return step, FAR_LENGTHS[0] - less * step


def _kernel(node: ir.Node, shapes: Shapes) -> int:
    """Entries that the window of a node spans along its longest axis; 1 for what has no window."""
    operator = operator_of(node)
    sizes: tuple[int, ...] = tuple(node.attributes.get_ints("kernel_shape", ()))
    weight = node.inputs[operator.factors[1]] if operator.window is not None and len(operator.factors) > 1 else None
    if not sizes and weight is not None:
        sizes = (shapes(weight) or ())[2:]
    holes = node.attributes.get_ints("dilations", ()) or [1] * len(sizes)
    return max((hole * (size - 1) + 1 for size, hole in zip(sizes, holes, strict=False)), default=1)
