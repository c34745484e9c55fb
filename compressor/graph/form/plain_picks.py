"""Picks that are written as more than they are: of whole entries, and of all entries in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.ir.edit import FreeNames, add_constant
from compressor.graph.ir.nodes import input_of, is_standard, optional_input
from compressor.graph.sizes.dims import Dim, size_product
from compressor.graph.sizes.known import initializer_of
from compressor.graph.sizes.shapes import Shapes


def write_plain_picks(model: ir.Model, shapes: Shapes) -> None:
    """Writes GatherND as Gather, and Gather as Reshape, where they pick no more than that; what is unused stays."""
    free = FreeNames(model.graph)
    for node in model.graph.all_nodes():
        if not is_standard(node):
            continue
        if node.op_type == "GatherND":
            _pick_whole_entries(model.graph, node, free)
        elif node.op_type == "Gather":
            _pick_all(model.graph, node, shapes, free)


def _pick_whole_entries(graph: ir.Graph, node: ir.Node, free: FreeNames) -> None:
    """GatherND that picks whole entries of the first axis by a constant is Gather, which says which ones stay apart.

    GatherND(x, i)[..., s] = x[i[..., 0], s] where the last axis of i has size 1 (ONNX GatherND-13).
    """
    index = node.inputs[1]
    tensor = None if index is None else initializer_of(index)
    if node.attributes.get_int("batch_dims", 0) or tensor is None or list(tensor.shape)[-1:] != [1]:
        return
    _become(node, "Gather", add_constant(graph, f"{node.name}.index", tensor.numpy()[..., 0], free))
    node.attributes["axis"] = ir.AttrInt64("axis", 0)


def _pick_all(graph: ir.Graph, node: ir.Node, shapes: Shapes, free: FreeNames) -> None:
    """Gather of a vector by 0, 1, 2 ... in rows is Reshape: a strided view of what lies in memory as it is.

    Exporters decompose pooling to one pixel so; with an open batch the numbers come from a Range.
    """
    whole, rows = shapes.dims(input_of(node, 0)), shapes.dims(node.outputs[0])
    if whole is None or rows is None or len(whole) != 1 or size_product(rows) != whole[0]:
        return
    found = _counted(input_of(node, 1), shapes)
    if found is None or not found.in_order(rows):
        return
    target = np.asarray([size if isinstance(size, int) else -1 for size in rows], np.int64)
    _become(node, "Reshape", add_constant(graph, f"{node.name}.rows", target, free))


def _become(node: ir.Node, op_type: str, second: ir.Value) -> None:
    node.replace_input_with(1, second)
    node.op_type = op_type
    node.attributes.clear()


@dataclass(frozen=True)
class _Counted:
    """Whole numbers ``step`` * position along ``axis`` + ``rest``.

    Attributes:
        rest: int64, broadcast.
        axis: counted from the last one (-1); None: ``rest`` is all.
        step: from one position to the next.
    """

    rest: npt.NDArray[np.int64]
    axis: int | None = None
    step: int = 0

    def in_order(self, rows: tuple[Dim, ...]) -> bool:
        """Are these 0, 1, 2 ... in an array of shape ``rows``? Its size along ``axis`` may be open, no other."""
        before = len(rows) if self.axis is None else len(rows) + self.axis
        if any(size != 1 for size in rows[:before]) and self.axis is not None:
            return False
        inner = [size for place, size in enumerate(rows) if place != before]
        if not all(isinstance(size, int) for size in inner) or self.rest.size != size_product(inner):
            return False
        step = 0 if self.axis is None else self.rest.size
        return self.step == step and np.array_equal(self.rest.ravel(), np.arange(self.rest.size))


def _counted(value: ir.Value, shapes: Shapes) -> _Counted | None:
    """``value`` as numbers that are counted along at most one axis; None where it may be something else."""
    known = shapes.const(value)
    if known is not None:
        return _Counted(np.asarray(known, np.int64)) if known.dtype.kind in "iu" else None
    node = value.producer()
    rule = None if node is None or not is_standard(node) else _RULES.get(node.op_type)
    return None if node is None or rule is None else rule(node, shapes)


def _range(node: ir.Node, shapes: Shapes) -> _Counted | None:
    start, step = (shapes.const(node.inputs[k]) for k in (0, 2))
    return None if start is None or step is None else _Counted(np.asarray(start, np.int64).reshape(1), -1, int(step))


def _unsqueeze(node: ir.Node, shapes: Shapes) -> _Counted | None:
    # Before operator set 13 axes are an attribute; no exporter of these views writes such a file.
    found, axes = _counted(input_of(node, 0), shapes), shapes.const(optional_input(node, 1))
    if found is None or axes is None:
        return None
    rest = np.expand_dims(found.rest, tuple(np.ravel(axes).tolist()))
    if found.axis is None:
        return _Counted(rest)
    # The axis that is counted along is the one of the old places that is that far from the last.
    new = {int(a) % rest.ndim for a in np.ravel(axes)}
    old = [a for a in range(rest.ndim) if a not in new]
    return _Counted(rest, old[found.axis] - rest.ndim, found.step)


def _add(node: ir.Node, shapes: Shapes) -> _Counted | None:
    one, two = (_counted(input_of(node, k), shapes) for k in (0, 1))
    if one is None or two is None or (one.axis is not None and two.axis is not None):
        return None
    counted, other = (one, two) if two.axis is None else (two, one)
    return _Counted(counted.rest + other.rest, counted.axis, counted.step)


def _mul(node: ir.Node, shapes: Shapes) -> _Counted | None:
    one, two = (_counted(input_of(node, k), shapes) for k in (0, 1))
    if one is None or two is None:
        return None
    counted, other = (one, two) if two.axis is None else (two, one)
    if other.axis is not None or other.rest.size != 1 or other.rest.ndim > counted.rest.ndim:
        return None
    factor = int(other.rest.ravel()[0])
    return _Counted(counted.rest * factor, counted.axis, counted.step * factor)


_RULES: Mapping[str, Callable[[ir.Node, Shapes], _Counted | None]] = MappingProxyType(
    {"Add": _add, "Mul": _mul, "Range": _range, "Unsqueeze": _unsqueeze}
)
"""Operators that numbers are counted and laid out with."""
