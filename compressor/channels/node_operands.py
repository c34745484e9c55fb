"""The operands of a node, each with the names of its axes and the labels that it had when the node's rule ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compressor.channels.labels import Term


@dataclass(frozen=True)
class NamedOperand:
    """An operand as a node sees it: the names of its axes longer than 1, in order, and its terms over them."""

    value: ir.Value
    names: tuple[str, ...]
    terms: tuple[Term[str], ...]


@dataclass(frozen=True)
class NodeOperands:
    """How operands met at a node.

    Attributes:
        parts: the operands that are there, in order.
        sizes: size of every name.
        kept: names that an output has; a term over any other is summed over, or reduced in another way.
        in_order: names along which the node looks at what lies beside each position.
    """

    parts: tuple[NamedOperand, ...]
    sizes: Mapping[str, int]
    kept: frozenset[str]
    in_order: frozenset[str] = frozenset()
