"""Weights of Gemm that are transposed once, where ONNX Runtime's quantiser would do so once for each reader.

Source: ``onnxruntime.quantization.onnx_model.ONNXModel.replace_gemm_with_matmul``, which assumes that no other node
reads the weight.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.graph.ir.edit import free_name
from compressor.graph.ir.nodes import is_standard


def transpose_shared(model: ir.Model) -> bool:
    """Transposes weights [n, k] that several nodes read, and their Gemms with ``transB`` read [k, n], in place.

    Where something else reads the weight, too, the Gemms get a copy, which they share.

    Returns:
        whether there were any.
    """
    found = False
    for value in list(model.graph.initializers.values()):
        uses, tensor = value.uses(), value.const_value
        turned = [node for node, slot in uses if slot == 1 and _becomes_product(node)]
        if tensor is None or not turned or len(uses) == 1:
            continue
        found = True
        target = value
        if len(turned) < len(uses) or value.is_graph_input() or value.is_graph_output():
            target = ir.Value(name=free_name(model.graph, f"{value.name}.transposed"), type=value.type)
            target.metadata_props.update(value.metadata_props)
        data = np.ascontiguousarray(tensor.numpy().T)
        target.const_value = ir.Tensor(data, dtype=tensor.dtype, name=target.name)
        target.shape = ir.Shape(data.shape)
        if target is not value:
            model.graph.register_initializer(target)
        for node in turned:
            node.replace_input_with(1, target)
            node.attributes["transB"] = ir.AttrInt64("transB", 0)
    return found


def product_name(node: str) -> str:
    """What the quantiser calls the matrix product that it makes of a Gemm."""
    return f"{node}_MatMul"


def _becomes_product(node: ir.Node) -> bool:
    if node.op_type != "Gemm" or not is_standard(node):
        return False
    plain = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return plain and not node.attributes.get_int("transA", 0) and node.attributes.get_int("transB", 0) == 1
