"""What follows from the facts of a record."""

from __future__ import annotations

import onnx_ir as ir

from compressor.operators.facts import EVERY, Host
from compressor.operators.operator import Operator
from compressor.operators.table import RULES, adds, operator_of

from .case import blank


def test_an_operator_without_a_record_has_one_that_says_nothing() -> None:
    unknown = operator_of(ir.node("Mystery", [], domain="some.where"))
    assert unknown == Operator("Mystery", "some.where")
    assert not unknown.coupled
    assert operator_of(ir.node("Relu", [], domain="ai.onnx")) is RULES["", "Relu"]


def test_what_adds_two_operands_is_no_difference() -> None:
    assert [op for op in ("Add", "Sub", "Sum", "Mul") if adds(blank(op))] == ["Add", "Sum"]
    assert not adds(blank("Sum", 3))


def test_roles_of_inputs() -> None:
    norm = RULES["", "BatchNormalization"]
    assert [k for k in range(5) if norm.may_be_zero(k)] == [1, 2]
    assert [k for k in range(5) if norm.shifts(k)] == [2, 3]
    assert [k for k in range(5) if norm.is_setting(k)] == [3, 4]
    assert RULES["", "Mul"].scale is EVERY
    assert RULES["", "Shape"].on_host is Host.ALWAYS
