"""The network of absolute weights whose paths SynFlow counts (arXiv 2006.05467, section 6).

Weights become absolute, biases zero. What would bend a path goes: clips, normalisations, and squashing functions on
the way of a signal. Those that open a gate (a sigmoid or softmax that is multiplied with a signal) stay: their
input is large, so the gate is open and has no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compressor.train.module.graph_module import GraphModule
from compressor.train.module.placement import STANDARD

BYPASSED = frozenset({
    "Clip", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax", "LpNormalization", "LRN",
    "MeanVarianceNormalization", "RMSNormalization", "Softsign",
})  # fmt: skip
GATES = frozenset({"HardSigmoid", "Sigmoid", "Softmax", "Tanh"})
"""Bypassed unless they are multiplied with a signal."""
MOVES = frozenset({"Cast", "Dropout", "Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
BIASES: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("Add", "Sub", "Sum"), frozenset(range(8))),
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), frozenset({2})),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), frozenset({3})),
    "BatchNormalization": frozenset({2, 3}),
}
"""Inputs that shift: with them zero, BatchNormalization only scales."""
NARROW = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def linearise(model: ir.Model) -> GraphModule:
    """The module of the network of absolute weights, in float64; ``model`` is not changed.

    Raises:
        UnsupportedOperator: a node has no function in torch.
        ModelError: the graph cannot be normalised.
    """
    copy = model.clone()
    for graph in copy.graphs():
        for value in graph.initializers.values():
            _widen(value)
    for node in list(copy.graph.all_nodes()):
        if node.domain in STANDARD:
            _edit(node)
    module = GraphModule(copy)
    for parameter in module.parameters():
        parameter.data.abs_()
    return module


def _widen(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is not None and tensor.dtype in NARROW:
        value.const_value = ir.tensor(tensor.numpy().astype(np.float64), name=value.name)
        value.type = ir.TensorType(ir.DataType.DOUBLE)  # a new one: clones share theirs with the original


def _edit(node: ir.Node) -> None:
    if node.op_type in BYPASSED or (node.op_type in GATES and not _opens(node.outputs[0])) or _caps(node):
        signal = next((v for v in node.inputs if v is not None and not v.is_initializer()), None)
        if signal is not None and not node.outputs[0].is_graph_output() and len(node.outputs) == 1:
            node.outputs[0].replace_all_uses_with(signal)
        elif signal is not None:
            _become_identity(node, signal)
    for name in ("to", "dtype"):
        if name in node.attributes and ir.DataType(node.attributes.get_int(name, 1)) in NARROW:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.DOUBLE))
    if node.op_type == "ConstantOfShape":
        entry = node.attributes["value"].as_tensor() if "value" in node.attributes else None
        if entry is None or entry.dtype in NARROW:
            number = np.zeros(1) if entry is None else entry.numpy().astype(np.float64)
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(number))
    for index, value in enumerate(node.inputs):
        if value is not None and _is_bias(node, index) and all(_is_bias(n, k) for n, k in value.uses()):
            _zero(value)


def _become_identity(node: ir.Node, signal: ir.Value) -> None:
    node.op_type = "Identity"
    node.domain = ""
    node.attributes.clear()
    node.resize_inputs(1)
    node.replace_input_with(0, signal)
    node.resize_outputs(1)


def _caps(node: ir.Node) -> bool:
    return node.op_type == "Min" and any(v is not None and v.is_initializer() for v in node.inputs)


def _opens(value: ir.Value) -> bool:
    """Is the value, perhaps after a move, multiplied with something that is computed?"""
    users = [node for node, _ in value.uses()]
    if value.is_graph_output() or not users:
        return False
    for node in users:
        if node.op_type in MOVES:
            if not _opens(node.outputs[0]):
                return False
        elif node.op_type not in ("Mul", "MatMul") or any(v is not None and v.is_initializer() for v in node.inputs):
            return False
    return True


def _is_bias(node: ir.Node, index: int) -> bool:
    return node.domain in STANDARD and index in BIASES.get(node.op_type, ())


def _zero(value: ir.Value) -> None:
    tensor = value.const_value if value.is_initializer() else None
    if tensor is not None and tensor.dtype.is_floating_point():
        array = tensor.numpy()
        value.const_value = ir.tensor(np.zeros(array.shape, array.dtype), name=value.name)
