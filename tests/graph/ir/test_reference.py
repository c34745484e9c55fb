"""Kernels in the place of ONNX's own give what ONNX Runtime gives."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from compressor.graph.ir.reference import reference_of
from tests.models import model

CASES = {
    **{
        f"GatherElements along {axis}": (
            f"(float[3,200,4] x, int64[2,9,4] i) => (float[2,9,4] y) {{ y = GatherElements<axis={axis}>(x, i) }}",
            np.random.default_rng(1).integers(-200, 200, (2, 9, 4)),
        )
        for axis in (1, -2)
    },
    **{
        f"GridSample {mode}": (
            f'(float[2,3,5,6] x, float[2,4,4,2] i) => (float[2,3,4,4] y) {{ y = GridSample<mode="{mode}">(x, i) }}',
            np.random.default_rng(1).uniform(-1.2, 1.2, (2, 4, 4, 2)).astype(np.float32),
        )
        for mode in ("bilinear", "bicubic", "nearest")
    },
}


@pytest.mark.parametrize(("text", "second"), CASES.values(), ids=CASES.keys())
def test_what_the_runtime_gives(text: str, second: np.ndarray) -> None:
    made = model(text, opset=17)
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    feed = {"x": np.random.default_rng(0).standard_normal(shape, np.float32), "i": second}
    found = reference_of(made).run(None, feed)[0]
    np.testing.assert_allclose(found, session.run(None, feed)[0], rtol=1e-4, atol=1e-5)
