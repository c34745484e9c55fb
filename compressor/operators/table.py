"""Every operator the toolchain knows, in one explicit table. An operator missing here is frozen, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from compressor.operators import (
    attention,
    conv,
    elementwise,
    indexing,
    integer,
    linear,
    movement,
    norm,
    pool,
    quant,
    recurrent,
    reduce,
    shape,
)
from compressor.operators.rule import OpRule

FAMILIES = (
    attention,
    conv,
    elementwise,
    indexing,
    integer,
    linear,
    movement,
    norm,
    pool,
    quant,
    recurrent,
    reduce,
    shape,
)

RULES: Mapping[tuple[str, str], OpRule] = MappingProxyType(
    {(rule.domain, op): rule for family in FAMILIES for rule in family.RULES for op in rule.op_types}
)
"""(domain, operator) -> record."""
