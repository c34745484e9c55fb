"""Which axes of a weight hold outputs, groups, what is summed over, and taps."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.operators.signature import Shape
from compressor.operators.table import RULES
from compressor.operators.weight import weight_axes

from .case import blank


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
    found = weight_axes(RULES["", op], blank(op, 2, **attributes), index, shape)
    assert (found.split, found.roles) == (split, roles)


def test_filters_of_a_transposed_convolution_are_by_output() -> None:
    axes = weight_axes(RULES["", "ConvTranspose"], blank("ConvTranspose", 2, group=2), 1, (4, 3, 2))
    weight = np.arange(24.0).reshape(4, 3, 2)
    filters = axes.filters(weight)
    assert filters.shape == (axes.channels, 4) == (6, 4)
    assert filters[4].tolist() == weight[2:, 1].ravel().tolist()
    scale = np.arange(1.0, 7)
    assert axes.filters(axes.scaled(weight, scale)).tolist() == (filters * scale[:, None]).tolist()
