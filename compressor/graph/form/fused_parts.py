"""Building blocks for writing a fused operator as the standard operators it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.ir.nodes import optional_input
from compressor.graph.ir.opsets import exists, node_of


class Parts:
    """The nodes that stand for one fused node."""

    def __init__(self, node: ir.Node, opset: int) -> None:
        self.node, self.opset = node, opset
        self.made: list[ir.Node] = []

    def add(self, op: str, inputs: Sequence[ir.Value | None], **attributes: Any) -> ir.Value:
        """A node after those made so far; its output."""
        self.made.append(ir.node(op, list(inputs), attributes=attributes or None))
        return self.made[-1].outputs[0]

    def formed(self, op: str, x: ir.Value, settings: Mapping[str, Any], outputs: int = 1) -> Sequence[ir.Value]:
        """A node in the form of the operator set (:func:`compressor.graph.ir.opsets.node_of`); its outputs."""

        def constant(_: str, array: npt.NDArray[Any]) -> ir.Value:
            return self.integers(array.tolist()) if array.dtype.kind == "i" else self.number(float(array), x)

        node = node_of(op, x, settings, self.opset, constant, outputs)
        self.made.append(node)
        return node.outputs

    def number(self, value: float, like: ir.Value) -> ir.Value:
        """A scalar of the type of ``like``; a float32 in operator sets without CastLike."""
        constant = self.add("Constant", [], value=ir.tensor(value, dtype=ir.DataType.FLOAT))
        return self.add("CastLike", [constant, like]) if exists("CastLike", self.opset) else constant

    def epsilon(self, default: float = 1e-12) -> float:
        """What a fused norm adds to the variance."""
        # ONNX Runtime's schemas of norms that are fused with what stands before them have a smaller default than ONNX.
        return self.node.attributes.get_float("epsilon", default)

    def operand(self, index: int) -> ir.Value | None:
        """An input, None where it is missing."""
        return optional_input(self.node, index)

    def integers(self, values: Sequence[int]) -> ir.Value:
        """A constant int64[n] as an initializer of the graph."""
        return self.add("Constant", [], value=ir.tensor(list(values), dtype=ir.DataType.INT64))

    def split(self, x: ir.Value, sizes: Sequence[int], axis: int) -> Sequence[ir.Value]:
        """Parts of ``x`` of these sizes along ``axis``."""
        return self.formed("Split", x, {"axis": axis, "split": sizes}, len(sizes))

    def unsqueeze(self, x: ir.Value, axis: int) -> ir.Value:
        """``x`` with a new axis of size 1."""
        return self.formed("Unsqueeze", x, {"axes": [axis]})[0]

    def fused(self, op: str, inputs: Sequence[ir.Value | None], without: Sequence[str], outputs: int) -> ir.Node:
        """A node of the same domain with the attributes of this one except some."""
        kept = [a for a in self.node.attributes.values() if a.name not in without]
        made = ir.Node(self.node.domain, op, list(inputs), kept, num_outputs=outputs)
        self.made.append(made)
        return made

    def first(self) -> ir.Value:
        """The first operand of the fused node."""
        value = self.operand(0)
        assert value is not None
        return value

    def total(self, *operands: ir.Value | None) -> ir.Value:
        """The sum of those operands that are given; absent ones count as zero."""
        there = [value for value in operands if value is not None]
        found = there[0]
        for value in there[1:]:
            found = self.add("Add", [found, value])
        return found

    def mean(self, x: ir.Value, axis: int) -> ir.Value:
        """Over ``axis``, which stays with size 1."""
        return self.formed("ReduceMean", x, {"axes": [axis], "keepdims": 1})[0]


Expansion = Callable[[Parts], "dict[int, ir.Value] | None"]
"""Output index -> what stands for it, or None where this form of the operator is left alone."""
