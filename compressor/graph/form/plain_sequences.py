"""Sequences of a known number of tensors, written as the tensors: what reads a sequence keeps channels together.

SplitToSequence whose sizes are known becomes Split, SequenceConstruct its operands; SequenceAt at a known place is the
tensor that is there, and ConcatFromSequence a Concat. Exporters write ``torch.split`` and ``unbind`` so.
Sources: ONNX SplitToSequence-24, SequenceConstruct-11, SequenceAt-11, ConcatFromSequence-11.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compressor.graph.ir.edit import FreeNames, add_constant, put_before
from compressor.graph.ir.nodes import input_of, is_standard, optional_input
from compressor.graph.ir.opsets import AddConstant, node_of, version_of
from compressor.graph.sizes.shapes import Shapes

MADE_BY = ("SplitToSequence", "SequenceConstruct")
COUNTED_BY = "SequenceLength"
READ_BY = ("ConcatFromSequence", "SequenceAt", COUNTED_BY)
MANY_PARTS = 256
"""Elements from which on a sequence is left alone: it is a list of steps then, and no pieces of channels."""


def handles_sequences(node: ir.Node) -> bool:
    """Does a node make a sequence, or tensors of one, as those do that may be written as the tensors alone?"""
    return is_standard(node) and node.op_type in (*MADE_BY, *READ_BY)


def write_plain_sequences(model: ir.Model, shapes: Shapes) -> bool:
    """Write each sequence whose elements are known, and that is read at known places, as its elements, in place.

    Returns:
        Whether there is one, so that shapes have to be inferred anew.
    """
    rewrite = _Rewrite(model, shapes)
    found = [node for node in model.graph.all_nodes() if is_standard(node) and node.op_type in MADE_BY]
    return sum(rewrite(node) for node in found) > 0


class _Rewrite:
    def __init__(self, model: ir.Model, shapes: Shapes) -> None:
        self._model, self._shapes = model, shapes
        self._free = FreeNames(model.graph)
        self._opset = version_of(model)

    def __call__(self, node: ir.Node) -> bool:
        sequence = node.outputs[0]
        readers = [user for user, _ in sequence.uses()]
        if sequence.is_graph_output() or not readers:
            return False
        sizes = self._sizes(node) if node.op_type == "SplitToSequence" else [1] * len(node.inputs)
        if (
            sizes is None
            or not 0 < len(sizes) <= MANY_PARTS
            or not all(self._known(user, len(sizes)) for user in readers)
        ):
            return False
        elements = self._split(node, sizes) if node.op_type == "SplitToSequence" else node.inputs
        if any(element is None for element in elements):
            return False
        for reader in dict.fromkeys(readers):
            self._write(reader, [element for element in elements if element is not None])
        assert node.graph is not None
        node.graph.remove(node, safe=True)
        return True

    def _sizes(self, node: ir.Node) -> list[int] | None:
        """Sizes of the elements along the axis of a SplitToSequence; None where the caller chooses them."""
        value = node.inputs[0]
        shape = None if value is None else self._shapes(value)
        if value is None or shape is None:
            return None
        axis = node.attributes.get_int("axis", 0) % len(shape)
        if self._shapes.dynamic(value)[axis]:
            return None
        given = optional_input(node, 1)
        split = np.asarray(1) if given is None else self._shapes.const(given)
        if split is None:
            return None
        parts = [int(size) for size in np.atleast_1d(split)]
        if not all(size > 0 for size in parts):
            return None
        if split.ndim:
            return parts if sum(parts) == shape[axis] else None
        return [min(parts[0], shape[axis] - start) for start in range(0, shape[axis], parts[0])]

    def _known(self, reader: ir.Node, count: int) -> bool:
        """Does a node read a sequence of so many elements in a way that needs no sequence?"""
        if not is_standard(reader) or any(v.is_graph_output() for v in reader.outputs):
            return False
        if reader.op_type == "SequenceAt":
            return self._place(reader, count) is not None
        return reader.op_type in READ_BY

    def _place(self, reader: ir.Node, count: int) -> int | None:
        given = reader.inputs[1]
        place = None if given is None else self._shapes.const(given)
        # Out of range is for the runtime to refuse.
        return None if place is None or not -count <= int(place) < count else int(place) % count

    def _split(self, node: ir.Node, sizes: Sequence[int]) -> list[ir.Value]:
        axis = node.attributes.get_int("axis", 0)
        settings = {"axis": axis, "split": sizes}
        made = node_of("Split", input_of(node, 0), settings, self._opset, self._constant(node), len(sizes))
        made.name = self._free(f"{node.name}.parts")
        for place, value in enumerate(made.outputs):
            value.name = self._free(f"{made.name}.{place}")
        node.prepend(made)
        # Elements of one entry lose the axis where no sizes are given.
        sized, keeps = optional_input(node, 1) is not None, node.attributes.get_int("keepdims", 1)
        if sized or keeps:
            return list(made.outputs)
        return [self._reshape("Squeeze", value, axis, node) for value in made.outputs]

    def _reshape(self, operator: str, value: ir.Value, axis: int, before: ir.Node) -> ir.Value:
        """``value`` with an axis of size 1 less or more, by a node in front of ``before``."""
        made = node_of(operator, value, {"axes": [axis]}, self._opset, self._constant(before))
        return put_before(before, made, f"{before.name}.one", self._free)

    def _constant(self, node: ir.Node) -> AddConstant:
        return lambda name, array: add_constant(self._model.graph, f"{node.name}.{name}", array, self._free)

    def _write(self, reader: ir.Node, elements: Sequence[ir.Value]) -> None:
        """Puts what a node makes of a sequence in the place of its output."""
        if reader.op_type == "SequenceAt":
            place = self._place(reader, len(elements))
            assert place is not None  # asked before
            found = elements[place]
        elif reader.op_type == COUNTED_BY:
            count = np.asarray(len(elements), np.int64)
            found = add_constant(self._model.graph, f"{reader.name}.count", count, self._free)
        else:
            axis = reader.attributes.get_int("axis", 0)
            if reader.attributes.get_int("new_axis", 0):
                elements = [self._reshape("Unsqueeze", value, axis, reader) for value in elements]
            joined = ir.node("Concat", list(elements), attributes={"axis": axis})
            found = put_before(reader, joined, f"{reader.name}.joined", self._free)
        reader.outputs[0].replace_all_uses_with(found)
        assert reader.graph is not None
        reader.graph.remove(reader, safe=True)
