"""Small models to damage, and what a refusal must look like."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from compressor.errors import ModelError
from compressor.graph.disk import files

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3] x, bool c) => (float[N, 4] y)
<float[3, 4] w = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}>
{
    h = MatMul (x, w)
    y = If (c) <
        then_branch = t () => (float[N, 4] a) { k = Constant <value = float {2}> () a = Mul (h, k) },
        else_branch = e () => (float[N, 4] b) { b = Neg (h) }
    >
}
"""
CALLS = """
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
g (float[N] x) => (float[N] y) { y = local.f (x) }
<domain: "local", opset_import: ["" : 17, "local" : 1]>
f (p) => (q) { r = Constant <value = float {2}> () s = Mul (p, r) q = local.h (s) }
<domain: "local", opset_import: ["" : 17, "local" : 1]>
h (p) => (q) { q = Relu (p) }
"""


def parsed(text: str = MODEL) -> onnx.ModelProto:
    """A model from ONNX text."""
    return onnx.parser.parse_model(text)


def written(folder: Path, model: onnx.ModelProto) -> Path:
    """The model as a file, unchecked."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def externalised(folder: Path, tensor: TensorProto, data: bytes | None = None, **entries: str) -> None:
    """Move a tensor's data to ``weights.bin``; ``entries`` change what the model says of it."""
    content = data if data is not None else numpy_helper.to_array(tensor).tobytes()
    (folder / "weights.bin").write_bytes(content)
    for field in ("raw_data", "float_data", "external_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", **entries}.items():
        tensor.external_data.add(key=key, value=value)


def refusal(path: Path) -> str:
    """The sentence with which loading is refused, at once and without allocating much."""
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ModelError) as caught:
            files.load_model(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert time.process_time() - start < 5
    assert peak < 50_000_000
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 700
    return message


def weights_of(model: ir.Model) -> dict[str, np.ndarray]:
    """The initializers of the main graph."""
    return {name: np.array(value.const_value.numpy()) for name, value in model.graph.initializers.items()}


def run(model: ir.Model | onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return [np.asarray(out) for out in session.run(None, feeds)]
