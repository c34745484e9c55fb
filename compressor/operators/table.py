"""Every operator the toolchain knows, in one explicit table. An operator missing here is frozen, never guessed."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType

import onnx_ir as ir

from compressor.graph.ir.nodes import operator_key, record_of
from compressor.operators.operator import Operator, Rules

FAMILIES = tuple(
    import_module(f"{__package__}.{name}")
    for name in (
        "attention",
        "control_flow",
        "conv",
        "elementwise",
        "experts",
        "frozen",
        "fused_attention",
        "indexing",
        "integer",
        "joining",
        "linear",
        "movement",
        "norm",
        "packed",
        "pool",
        "quant",
        "recurrent",
        "reduce",
        "sequence",
        "shape",
        "spectral",
        "whole",
    )
)
"""Modules that hold a family each; its name here is all that it takes."""

RULES: Rules = MappingProxyType({(one.domain, one.name): one for family in FAMILIES for one in family.OPERATORS})
"""(domain, operator) -> record."""


def operator_of(node: ir.Node) -> Operator:
    """The record of a node's operator; one that says nothing where the table has none."""
    found = record_of(node, RULES)
    if found is not None:
        return found
    domain, name = operator_key(node)
    return Operator(name, domain)


def known(node: ir.Node) -> bool:
    """Is there a record of the node's operator, in the table or given to the node?"""
    return record_of(node, RULES) is not None


def adds(node: ir.Node) -> bool:
    """Does the node add two operands and do nothing else?"""
    operator = operator_of(node)
    return len(node.inputs) == 2 and 0 in operator.addends and 1 in operator.addends
