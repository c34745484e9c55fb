"""Values of facts: neutral elements of every element type."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.operators.facts import AS_INFINITE, Neutral


@pytest.mark.parametrize(
    ("dtype", "lowest", "highest"),
    [("float32", -AS_INFINITE, AS_INFINITE), ("int32", -(2**31), 2**31 - 1), ("uint8", 0, 255), ("bool", 0, 1)],
)
def test_extremes_of_an_element_type(dtype: str, lowest: float, highest: float) -> None:
    assert Neutral.LOWEST.of(np.dtype(dtype)) == lowest
    assert Neutral.HIGHEST.of(np.dtype(dtype)) == highest
    assert (Neutral.ZERO.of(np.dtype(dtype)), Neutral.ONE.of(np.dtype(dtype))) == (0, 1)
