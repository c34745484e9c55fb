"""Whether a node, or a model, gives the same each time: what draws at random, and what rounding may put in order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import onnx_ir as ir

RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
                    "Bernoulli", "Dropout"})  # fmt: skip
"""Operators whose result is not a function of their inputs."""
SORTS = frozenset({"TopK", "NonMaxSuppression", "Unique"})
"""Operators that put rows in the order of some numbers, or keep some of them."""
PLAIN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Whose operators are known to draw nothing but for those of ``RANDOM``."""


def draws(node: ir.Node) -> bool:
    """Is its result known to be another one each time it is run?"""
    return node.op_type in RANDOM


def _every_node(model: ir.Model) -> Iterator[ir.Node]:
    """Nodes of the graph, of its bodies and of functions."""
    return chain(model.graph.all_nodes(), *(function.all_nodes() for function in model.functions.values()))


def may_reorder(model: ir.Model) -> bool:
    """May rounding decide in which order a model gives rows, or which?"""
    return any(node.op_type in SORTS for node in _every_node(model))


def may_draw(model: ir.Model) -> bool:
    """May outputs of a model be other numbers each time it is run on the same inputs?"""
    domains = PLAIN_DOMAINS | {domain for domain, _, _ in model.functions}
    return any(draws(node) or node.domain not in domains for node in _every_node(model))
