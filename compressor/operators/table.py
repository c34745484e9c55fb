"""Every operator the toolchain knows, in one explicit table. An operator missing here is frozen, never guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType

import onnx_ir as ir

from compressor.graph.nodes import STANDARD
from compressor.operators import (
    attention,
    control_flow,
    conv,
    elementwise,
    experts,
    frozen,
    fused_attention,
    indexing,
    integer,
    linear,
    movement,
    norm,
    packed,
    pool,
    quant,
    recurrent,
    reduce,
    sequence,
    shape,
)
from compressor.operators.operator import Operator, Rules

FAMILIES = (
    attention,
    control_flow,
    conv,
    elementwise,
    experts,
    frozen,
    fused_attention,
    indexing,
    integer,
    linear,
    movement,
    norm,
    packed,
    pool,
    quant,
    recurrent,
    reduce,
    sequence,
    shape,
)

_BUILT_IN: Rules = MappingProxyType({(one.domain, one.name): one for family in FAMILIES for one in family.OPERATORS})
_TAUGHT: ContextVar[Rules] = ContextVar("taught", default=MappingProxyType({}))


class _Table(Mapping[tuple[str, str], Operator]):
    """The records of this package, and those of :func:`teaching` where it is in force."""

    def __getitem__(self, key: tuple[str, str]) -> Operator:
        found = _BUILT_IN.get(key)
        return _TAUGHT.get()[key] if found is None else found  # a record of this package is never replaced

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter([*_BUILT_IN, *_TAUGHT.get()])

    def __len__(self) -> int:
        return len(_BUILT_IN) + len(_TAUGHT.get())


RULES: Rules = _Table()
"""(domain, operator) -> record."""


@contextmanager
def teaching(records: Iterable[Operator]) -> Iterator[None]:
    """The table has further records inside, for operators that it does not know."""
    token = _TAUGHT.set(MappingProxyType({(one.domain, one.name): one for one in records}))
    try:
        yield
    finally:
        _TAUGHT.reset(token)


def operator_of(node: ir.Node) -> Operator:
    """The record of a node's operator; one that says nothing where the table has none."""
    key = ("" if node.domain in STANDARD else node.domain, node.op_type)
    return _TAUGHT.get().get(key) or _operator(*key)


@lru_cache(maxsize=1024)
def _operator(domain: str, name: str) -> Operator:
    return _BUILT_IN.get((domain, name)) or Operator(name, domain)


def adds(node: ir.Node) -> bool:
    """Does the node add two operands and do nothing else?"""
    operator = operator_of(node)
    return len(node.inputs) == 2 and 0 in operator.addends and 1 in operator.addends
