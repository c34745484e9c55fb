"""Memory of a model, from a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import ModelError
from compressor.runtime.memory import footprint
from compressor.runtime.sessions import Setup

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
MIB = 1 << 20


def matmul(path: Path, rows: int) -> Path:
    weight = numpy_helper.from_array(np.ones((rows, 1024), np.float32), "w")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", k]) for n, k in (("x", rows), ("y", 1024))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


def test_weights_are_in_it(tmp_path):
    rows = (256, 16 * 1024)
    found = [
        footprint(matmul(tmp_path / f"{n}.onnx", n), "cpu", {"x": np.ones((1, n), np.float32)}, Setup(threads=1))
        for n in rows
    ]
    small, large = found
    assert small is not None
    assert large is not None
    assert large.peak - small.peak > 60 * MIB
    assert small.peak < 40 * MIB
    assert large.settled <= large.peak
    assert large.device is None


def test_a_process_that_fails_says_why(tmp_path):
    path = matmul(tmp_path / "m.onnx", 8)
    with pytest.raises(ModelError, match=r"measures memory failed: .*does not run"):
        footprint(path, "cpu", {"x": np.ones((1, 9), np.float32)}, Setup())
