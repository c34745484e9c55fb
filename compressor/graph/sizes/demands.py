"""What nodes demand of their operands that ONNX's inference does not ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType

import onnx_ir as ir

from compressor.graph.ir.nodes import is_standard
from compressor.graph.sizes.dims import Misfit, size_product
from compressor.graph.sizes.known import Inferred, Known, first_input
from compressor.graph.sizes.shape_rules import Operands


def check_operands(node: ir.Node, known: Callable[[ir.Node], Operands]) -> None:
    """Raises Misfit where a node has operands that no runtime takes, by what is ``known`` of them."""
    demand = DEMANDS.get(node.op_type) if is_standard(node) else None
    # Asked last, since it may read weights.
    if demand is not None:
        demand(known(node))


def _scales(of: Operands) -> None:
    """Others than positive numbers end the process of the runtime."""
    # Behind a region of interest, in newer operator sets.
    scales = [*of.data[2:3]] or [*of.data[1:2]]
    factors = [float(f) for a in scales if a is not None and a.dtype.kind == "f" for f in a.ravel()]
    if not all(0 < factor < inf for factor in factors):
        raise Misfit(f"node {of.node.name!r} ({of.node.op_type}): its scales {factors} are not all positive")


DEMANDS: Mapping[str, Callable[[Operands], None]] = MappingProxyType({"Resize": _scales, "Upsample": _scales})
"""Operator of the standard domain -> what raises Misfit."""


def check_reshape(node: ir.Node, known: Known, result: Inferred) -> None:
    """ONNX's inference does not compare element counts when the target holds no -1."""
    if node.op_type != "Reshape" or not is_standard(node):
        return
    before = known.shapes.get(first_input(node))
    after = result.get(str(node.outputs[0].name), (None, None))[0]
    # Only sizes that are all numbers can be compared for certain.
    if before is None or after is None or not all(isinstance(d, int) for d in (*before, *after)):
        return
    if size_product(before) != size_product(after):
        raise Misfit(f"node {node.name!r} (Reshape): {list(before)} does not fit into {list(after)}")
