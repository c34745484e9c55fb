"""What ``auto_pad`` adds is what ONNX Runtime adds, also where windows leave out more than they need at the ends."""

from __future__ import annotations

from math import ceil

import numpy as np
import onnxruntime
import pytest

from compressor.operators.padding import same_padding
from tests.models import model

NET = """(float[1,1,t] x, float[1,1,{taps}] w) => (float[1,1,u] y) {{
    y = Conv<auto_pad="{mode}", strides=[{stride}]>(x, w) }}"""


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("taps", "stride"), [(5, 32), (2, 9), (1, 3), (1, 2), (3, 2), (4, 1), (5, 3)])
def test_windows_lie_where_the_runtime_lays_them(taps: int, stride: int, mode: str) -> None:
    proto = model(NET.format(taps=taps, stride=stride, mode=mode))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    weight = np.float32(10.0) ** np.arange(taps, dtype=np.float32)
    for length in (7, 8, 9, 31, 32, 33, 34, 35):
        x = np.arange(1, length + 1, dtype=np.float32)
        [found] = session.run(None, {"x": x[None, None], "w": weight[None, None]})
        before, after = same_padding((ceil(length / stride) - 1) * stride + taps - length, lower=mode == "SAME_LOWER")
        held = x[-before:] if before < 0 else np.pad(x, (before, after))
        windows = np.lib.stride_tricks.sliding_window_view(held, taps)[::stride]
        np.testing.assert_array_equal(found[0, 0], windows @ weight)
