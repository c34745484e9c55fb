"""Values of facts: neutral elements of every element type."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.operators.facts import AS_INFINITE, GateProduct, Neutral


@pytest.mark.parametrize(
    ("dtype", "lowest", "highest"),
    [("float32", -AS_INFINITE, AS_INFINITE), ("int32", -(2**31), 2**31 - 1), ("uint8", 0, 255), ("bool", 0, 1)],
)
def test_extremes_of_an_element_type(dtype: str, lowest: float, highest: float) -> None:
    assert Neutral.LOWEST.of(np.dtype(dtype)) == lowest
    assert Neutral.HIGHEST.of(np.dtype(dtype)) == highest
    assert (Neutral.ZERO.of(np.dtype(dtype)), Neutral.ONE.of(np.dtype(dtype))) == (0, 1)


def test_gates_read_what_they_are_linear_in() -> None:
    x, h = np.ones((3, 2)), np.zeros((3, 4))
    assert np.array_equal(GateProduct((0,)).operands(x, h), [[1, 1, 0, 0, 0, 0]] * 3)
    assert np.array_equal(GateProduct((0,), reads_state=False).operands(x, h), x)
    assert np.array_equal(GateProduct((0,), reads_input=False).operands(x, h), h)
