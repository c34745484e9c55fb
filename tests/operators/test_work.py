"""Multiply-accumulates follow from the axes of a signature."""

from __future__ import annotations

import pytest

from compressor.operators.signature import Shape
from compressor.operators.table import RULES

from .case import blank

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
    assert RULES["", op].macs(blank(op, len(inputs), **attributes), inputs, [output]) == expected


def test_macs_need_no_attribute_that_a_cut_leaves_stale() -> None:
    """Estimates of what is left change shapes alone."""
    stale = blank("Conv", 2, group=16)
    assert RULES["", "Conv"].macs(stale, [(3, 5, 6, 6), (5, 1, 3, 3)], [(3, 5, 4, 4)]) == 3 * 5 * 16 * 9
