"""Arrays in files come back as they were."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from compressor.core.arrays import load_array, save_array

NUMBERS = np.arange(6).reshape(2, 3)


@pytest.mark.parametrize(
    "kind", [np.float32, np.int64, np.bool_, np.complex64, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
)
@pytest.mark.parametrize("array", [NUMBERS, NUMBERS.T, NUMBERS[0, 0], NUMBERS[:0]])
def test_numbers_of_any_type_come_back(kind: type[np.generic], array: np.ndarray, tmp_path: Path) -> None:
    before = np.asarray(array).astype(kind)
    save_array(tmp_path / "a.npy", before)
    after = load_array(tmp_path / "a.npy")
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    np.testing.assert_array_equal(after, before)


def test_strings_come_back_as_text(tmp_path: Path) -> None:
    save_array(tmp_path / "a.npy", np.asarray([["a", "bcd"]], object))
    assert load_array(tmp_path / "a.npy").tolist() == [["a", "bcd"]]
