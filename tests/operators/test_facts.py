"""What follows from the facts of a record: multiply-accumulates, axes of a weight, roles of inputs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.operators.facts import EVERY, Host
from compressor.operators.operator import Operator
from compressor.operators.table import RULES, adds, operator_of
from compressor.operators.weight import weight_axes

Shape = tuple[int, ...]


def node(op: str, count: int = 2, **attributes: int | str) -> ir.Node:
    made = ir.node(op, [ir.Value(name=f"x{k}") for k in range(count)], attributes=attributes, name="node")
    made.outputs[0].name = "y"
    return made


MACS: tuple[tuple[str, list[Shape], Shape, dict[str, int | str], int], ...] = (
    ("MatMul", [(3, 5, 8), (8, 6)], (3, 5, 6), {}, 3 * 5 * 8 * 6),
    ("MatMul", [(2, 1, 5, 8), (3, 8, 6)], (2, 3, 5, 6), {}, 2 * 3 * 5 * 8 * 6),
    ("MatMul", [(3, 5, 8), (8,)], (3, 5), {}, 3 * 5 * 8),
    ("Gemm", [(8, 3), (6, 8), (6,)], (3, 6), {"transA": 1, "transB": 1}, 3 * 8 * 6),
    ("Einsum", [(3, 5), (5, 7), (7, 2)], (3, 2), {"equation": "ab,bc,cd->ad"}, 3 * 5 * 7 * 2),
    ("Einsum", [(3, 5)], (3,), {"equation": "ab->a"}, 0),
    ("Conv", [(3, 8, 6, 7), (12, 2, 3, 3)], (3, 12, 4, 5), {"group": 4}, 3 * 12 * 4 * 5 * 2 * 9),
    ("ConvTranspose", [(3, 8, 6, 7), (8, 3, 3, 3)], (3, 12, 8, 9), {"group": 4}, 3 * 8 * 6 * 7 * 3 * 9),
    ("DeformConv", [(3, 8, 6, 7), (12, 2, 3, 3), (3, 18, 4, 5)], (3, 12, 4, 5), {"group": 4}, 3 * 12 * 4 * 5 * 2 * 9),
    ("LSTM", [(5, 3, 8), (2, 24, 8), (2, 24, 6)], (5, 2, 3, 6), {"hidden_size": 6}, 5 * 3 * 2 * 24 * (8 + 6)),
    ("Attention", [(2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 6)], (2, 4, 5, 6), {}, 2 * 4 * 5 * 7 * (8 + 6)),
    ("ReduceSum", [(3, 5)], (3,), {}, 0),
    ("Relu", [(3, 5)], (3, 5), {}, 0),
)


@pytest.mark.parametrize(("op", "inputs", "output", "attributes", "expected"), MACS)
def test_macs(op: str, inputs: list[Shape], output: Shape, attributes: dict[str, int | str], expected: int) -> None:
    assert RULES["", op].macs(node(op, len(inputs), **attributes), inputs, [output]) == expected


def test_macs_need_no_attribute_that_a_cut_leaves_stale() -> None:
    """Estimates of what is left change shapes alone."""
    stale = node("Conv", 2, group=16)
    assert RULES["", "Conv"].macs(stale, [(3, 5, 6, 6), (5, 1, 3, 3)], [(3, 5, 4, 4)]) == 3 * 5 * 16 * 9


@pytest.mark.parametrize(
    ("op", "shape", "index", "attributes", "split", "roles"),
    [
        ("Conv", (8, 2, 3, 3), 1, {"group": 2}, (2, 4, 2, 3, 3), "goitt"),
        ("ConvTranspose", (8, 4, 3), 1, {"group": 2}, (2, 4, 4, 3), "giot"),
        ("MatMul", (4, 5), 1, {}, (4, 5), "io"),
        ("MatMul", (4, 5), 0, {}, (4, 5), "oi"),
        ("Gemm", (4, 5), 1, {"transB": 1}, (4, 5), "oi"),
        ("MatMul", (3, 4, 5), 1, {}, (3, 4, 5), "gio"),
        ("Einsum", (6, 3, 4), 1, {"equation": "bthd,ohd->bto"}, (6, 3, 4), "oii"),
    ],
)
def test_axes_of_a_weight(
    op: str, shape: Shape, index: int, attributes: dict[str, int | str], split: Shape, roles: str
) -> None:
    found = weight_axes(RULES["", op], node(op, 2, **attributes), index, shape)
    assert (found.split, found.roles) == (split, roles)


def test_filters_of_a_transposed_convolution_are_by_output() -> None:
    axes = weight_axes(RULES["", "ConvTranspose"], node("ConvTranspose", 2, group=2), 1, (4, 3, 2))
    weight = np.arange(24.0).reshape(4, 3, 2)
    filters = axes.filters(weight)
    assert filters.shape == (axes.channels, 4) == (6, 4)
    assert filters[4].tolist() == weight[2:, 1].ravel().tolist()
    scale = np.arange(1.0, 7)
    assert axes.filters(axes.scaled(weight, scale)).tolist() == (filters * scale[:, None]).tolist()


def test_an_operator_without_a_record_has_one_that_says_nothing() -> None:
    unknown = operator_of(ir.node("Mystery", [], domain="some.where"))
    assert unknown == Operator("Mystery", "some.where")
    assert not unknown.coupled
    assert operator_of(ir.node("Relu", [], domain="ai.onnx")) is RULES["", "Relu"]


def test_what_adds_two_operands_is_no_difference() -> None:
    assert [op for op in ("Add", "Sub", "Sum", "Mul") if adds(node(op))] == ["Add", "Sum"]
    assert not adds(node("Sum", 3))


def test_roles_of_inputs() -> None:
    norm = RULES["", "BatchNormalization"]
    assert [k for k in range(5) if norm.may_be_zero(k)] == [1, 2]
    assert [k for k in range(5) if norm.shifts(k)] == [2, 3]
    assert [k for k in range(5) if norm.is_setting(k)] == [3, 4]
    assert RULES["", "Mul"].scale is EVERY
    assert RULES["", "Shape"].on_host is Host.ALWAYS
