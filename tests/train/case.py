"""Runs one model in torch and in ONNX Runtime, and compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from compressor.torch_ops.tensors import to_numpy, to_torch
from compressor.train import GraphModule

torch.set_num_threads(1)

Array = NDArray[np.generic]
Feed = Mapping[str, Array]


def in_torch(model: onnx.ModelProto | ir.Model, feeds: Feed) -> list[Array]:
    """The outputs of the model as a module, in evaluation."""
    source = model if isinstance(model, ir.Model) else ir.from_proto(model)
    return run_module(GraphModule(source).eval(), feeds)


def run_module(module: GraphModule, feeds: Feed) -> list[Array]:
    with torch.no_grad():
        found = module(**{name: to_torch(np.asarray(array)) for name, array in feeds.items()})
    return [to_numpy(value) for value in (found if isinstance(found, tuple) else (found,))]


def in_runtime(model: onnx.ModelProto, feeds: Feed) -> list[Array]:
    """The outputs of ONNX Runtime on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(a) for a in session.run(None, dict(feeds))]


def difference(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """The largest difference over the range of the output it is in; types and shapes must agree."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if b.size:
            wide = b.astype(np.float64)
            span = float(np.ptp(wide)) or float(np.abs(wide).max()) or 1.0
            worst = max(worst, float(np.abs(a.astype(np.float64) - wide).max()) / span)
    return worst


def parity(model: onnx.ModelProto, feeds: Feed) -> float:
    """How far torch is from ONNX Runtime."""
    return difference(in_torch(model, feeds), in_runtime(model, feeds))


def node_model(
    op: str,
    inputs: Mapping[str, Any],
    *,
    opset: int = 18,
    constants: Mapping[str, Array] | None = None,
    outputs: int = 1,
    **attributes: Any,
) -> onnx.ModelProto:
    """A graph of one node. ``inputs`` gives arrays in order (None: left out); ``constants`` are initializers."""
    fixed = dict(constants or {})
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node(
                op,
                ["" if v is None else k for k, v in inputs.items()],
                [f"y{k}" for k in range(outputs)],
                op,
                **attributes,
            )
        ],
        "g",
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(np.asarray(v).dtype), np.asarray(v).shape
            )
            for name, v in inputs.items()
            if v is not None and name not in fixed
        ],
        [onnx.ValueInfoProto(name=f"y{k}") for k in range(outputs)],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in fixed.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)


def worst(ours: list[Array], theirs: list[Array]) -> float:
    """The largest difference of real outputs as a share of the largest magnitude."""
    found = 0.0
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if b.dtype.kind == "f" and b.size:
            wide = np.nan_to_num(b.astype(np.float64), posinf=0, neginf=0)
            gap = np.nan_to_num(a.astype(np.float64), posinf=0, neginf=0) - wide
            found = max(found, float(np.abs(gap).max()) / (float(np.abs(wide).max()) or 1.0))
    return found
