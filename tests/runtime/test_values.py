"""Types that numpy lacks go in and come out; sequences and maps become arrays."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import DTypeLike

from compressor.runtime import sessions, values

CASTS = """
<ir_version: 10, opset_import: ["" : 21]>
g (KIND[N, 3] x, float[N, 3] a) => (KIND[N, 3] y, float[N, 3] b) {
    f = Cast <to = 1> (x)
    b = Add (f, a)
    y = Cast <to = CODE> (b)
}
"""


@pytest.mark.parametrize(
    ("kind", "code", "dtype"),
    [
        ("bfloat16", 16, ml_dtypes.bfloat16),
        ("float8e4m3fn", 17, ml_dtypes.float8_e4m3fn),
        ("float8e5m2", 19, ml_dtypes.float8_e5m2),
        ("float16", 10, np.float16),
    ],
)
def test_types_that_numpy_lacks(tmp_path: Path, kind: str, code: int, dtype: DTypeLike) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(CASTS.replace("KIND", kind).replace("CODE", str(code))), path)
    x = np.array([[0.5, 1.0, -2.0], [0.0, 2.0, 3.0]]).astype(dtype)
    session = sessions.start_session(path, "cpu", sessions.Setup())
    found, plain = sessions.run_session(session, {"x": x, "a": np.ones((2, 3), np.float32)})
    assert found.dtype == x.dtype
    assert np.array_equal(found.astype(np.float32), x.astype(np.float32) + 1)
    assert np.array_equal(plain, x.astype(np.float32) + 1)
    assert np.array_equal(sessions.run_session(session, {"x": x, "a": np.ones((2, 3), np.float32)}, ["b"])[0], plain)


def test_maps_and_sequences_are_arrays() -> None:
    assert np.array_equal(values.as_array([{1: 0.5, 0: 0.25}, {1: 2.0, 0: 1.0}]), [[0.25, 0.5], [1.0, 2.0]])
    assert np.array_equal(values.as_array({"b": 2.0, "a": 1.0}), [1.0, 2.0])
    assert np.array_equal(values.as_array([np.ones((1, 2)), np.zeros((2, 2))]), [1, 1, 0, 0, 0, 0])
    assert values.as_array([np.ones((1, 2)), np.zeros((1, 2))]).shape == (2, 1, 2)
    assert values.as_array([]).size == 0
