"""A model as a module that is measured and not trained."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
import torch

from compressor.core.arrays import Array
from compressor.graph.form.upcast import is_narrow, widened
from compressor.torch_ops.tensors import to_torch
from compressor.train.module.graph_module import GraphModule

HALF_FLOATS = (torch.float16, torch.bfloat16)


def measuring_module(model: ir.Model) -> GraphModule:
    """``model`` in evaluation mode, on the GPU where there is one; its weights keep their names.

    In float32 where its weights have 16 bits: processors have no fast kernels for these, and small gradients vanish in
    them.

    Raises:
        UnsupportedOperator: a node has no function in torch.
    """
    module = GraphModule(widened(model) if is_narrow(model) else model).eval()
    return module.cuda() if torch.cuda.is_available() else module


def measured_inputs(module: GraphModule, arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """The inputs that the module has, where its parameters are; floats of 16 bits in float32."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    found = {name: to_torch(array).to(device) for name, array in arrays.items() if name in module.input_names}
    return {name: tensor.float() if tensor.dtype in HALF_FLOATS else tensor for name, tensor in found.items()}
