"""Shapes of sequences: of a sequence, the shape of its elements is known, with a symbol where they differ in size.

Sources: ONNX SplitToSequence-24, SequenceConstruct-11, SequenceEmpty-11, SequenceInsert-11, SequenceErase-11,
SequenceAt-11, SequenceLength-11, ConcatFromSequence-11. With numbers, a size that differs is that of the first element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.nodes import is_standard, optional_input
from compressor.graph.sizes.dims import Dim
from compressor.graph.sizes.known import Known, first_input
from compressor.graph.sizes.shape_rules import DimShape

if TYPE_CHECKING:
    from compressor.graph.sizes.inference import Walker


def has_sequence(node: ir.Node, known: Known) -> bool:
    """Does ``node`` make a sequence, or read one?"""
    return _rule(node) is not None or any(v in known.sequences for v in node.inputs if v is not None)


def infer_sequence(node: ir.Node, walker: Walker) -> None:
    """Tells ``walker`` what the outputs of a node are that makes or reads a sequence."""
    rule = _same if node.op_type == "Identity" else _rule(node)
    known = walker.known
    if rule is None:
        for value in node.outputs:
            known.shapes[value], known.dtypes[value] = walker.resolve(value, None, None)
    else:
        rule(node, walker)
    for value in node.outputs:
        walker.assign_symbols(value)


def common_shape(shapes: Sequence[DimShape], walker: Walker) -> DimShape | None:
    """The shape of elements of these shapes; None where they have different ranks."""
    if not shapes or len({len(shape) for shape in shapes}) > 1:
        return None
    columns = zip(*shapes, strict=True)
    return tuple(sizes[0] if len(set(sizes)) == 1 or not walker.symbolic else walker.fresh() for sizes in columns)


def _rule(node: ir.Node) -> Callable[[ir.Node, Walker], None] | None:
    return SEQUENCE_RULES.get(node.op_type) if is_standard(node) else None


def _make(value: ir.Value, shape: DimShape | None, dtype: ir.DataType | None, walker: Walker) -> None:
    """``value`` is a sequence of such elements."""
    walker.known.shapes[value], walker.known.dtypes[value] = shape, None
    walker.known.sequences[value] = dtype


def _tensor(value: ir.Value, shape: Sequence[Dim | None] | None, dtype: ir.DataType | None, walker: Walker) -> None:
    full = walker.filled(value, shape)
    walker.known.shapes[value], walker.known.dtypes[value] = walker.resolve(value, full, dtype)


def _split(node: ir.Node, walker: Walker) -> None:
    value, out = first_input(node), node.outputs[0]
    shape, dtype = walker.known.shapes.get(value), walker.known.dtypes.get(value)
    given = optional_input(node, 1)
    if not shape:
        _make(out, None, dtype, walker)
        return
    axis = node.attributes.get_int("axis", 0) % len(shape)
    # ONNX looks at keepdims only where no sizes are given.
    if given is None and not node.attributes.get_int("keepdims", 1):
        _make(out, shape[:axis] + shape[axis + 1 :], dtype, walker)
        return
    data = None if given is None else walker.data(given)
    sizes = [] if given is not None and data is None else _sizes(shape[axis], data)
    first = sizes[0] if sizes and (len(set(sizes)) == 1 or not walker.symbolic) else None
    if first is None and not walker.symbolic:
        _make(out, None, dtype, walker)
        return
    _make(out, (*shape[:axis], walker.fresh() if first is None else first, *shape[axis + 1 :]), dtype, walker)


def _sizes(whole: Dim, split: Array | None) -> list[int]:
    """Sizes of the parts along an axis of size ``whole``; none where they are not known."""
    # ONNX: without sizes, every part has one position.
    entries = [1] if split is None else split.ravel().tolist()
    numbers = [entry for entry in entries if isinstance(entry, int)]
    if len(numbers) < len(entries):
        return []
    if split is not None and split.ndim:
        return numbers
    (size,) = numbers
    if size == 1:
        return [1]
    if not isinstance(whole, int) or size < 1:
        return []
    # The last part is what is left over.
    return [size] * (whole // size) + [whole % size] * (whole % size > 0)


def _construct(node: ir.Node, walker: Walker) -> None:
    values = [v for v in node.inputs if v is not None]
    shapes = [shape for v in values if (shape := walker.known.shapes.get(v)) is not None]
    shape = common_shape(shapes, walker) if len(shapes) == len(values) else None
    _make(node.outputs[0], shape, walker.known.dtypes.get(values[0]) if values else None, walker)


def _empty(node: ir.Node, walker: Walker) -> None:
    _make(node.outputs[0], None, ir.DataType(node.attributes.get_int("dtype", int(ir.DataType.FLOAT))), walker)
    walker.known.empty.add(node.outputs[0])


def _insert(node: ir.Node, walker: Walker) -> None:
    known, whole = walker.known, first_input(node)
    element = node.inputs[1]
    shapes = [known.shapes.get(v) for v in (whole, element) if v is not None and v not in known.empty]
    given = [shape for shape in shapes if shape is not None]
    shape = common_shape(given, walker) if len(given) == len(shapes) else None
    _make(node.outputs[0], shape, known.sequences.get(whole), walker)


def _same(node: ir.Node, walker: Walker) -> None:
    value = first_input(node)
    if value in walker.known.empty:
        walker.known.empty.add(node.outputs[0])
    _make(node.outputs[0], walker.known.shapes.get(value), walker.known.sequences.get(value), walker)


def _at(node: ir.Node, walker: Walker) -> None:
    value = first_input(node)
    _tensor(node.outputs[0], walker.known.shapes.get(value), walker.known.sequences.get(value), walker)


def _length(node: ir.Node, walker: Walker) -> None:
    _tensor(node.outputs[0], (), ir.DataType.INT64, walker)


def _concat(node: ir.Node, walker: Walker) -> None:
    value = first_input(node)
    shape, axis = walker.known.shapes.get(value), node.attributes.get_int("axis", 0)
    whole: list[Dim | None] | None = None
    if shape is not None:
        whole = list(shape)
        if node.attributes.get_int("new_axis", 0):
            # As long as the sequence, which is not followed.
            whole.insert(axis % (len(shape) + 1), None)
        elif shape:  # scalars have no axis to be joined along
            whole[axis % len(shape)] = None
    _tensor(node.outputs[0], whole, walker.known.sequences.get(value), walker)


SEQUENCE_RULES: Mapping[str, Callable[[ir.Node, Walker], None]] = MappingProxyType(
    {
        "SplitToSequence": _split,
        "SequenceConstruct": _construct,
        "SequenceEmpty": _empty,
        "SequenceInsert": _insert,
        "SequenceErase": _same,
        "SequenceAt": _at,
        "SequenceLength": _length,
        "ConcatFromSequence": _concat,
    }
)
