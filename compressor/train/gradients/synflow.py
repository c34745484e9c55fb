"""The network of absolute weights whose paths SynFlow counts (arXiv 2006.05467, section 6).

Weights become absolute, biases zero. What would bend a path goes: clips, normalisations, and squashing functions on
the way of a signal. Those that open a gate (a sigmoid or softmax that is multiplied with a signal) stay: their
input is large, so the gate is open and has no gradient.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.graph.ir.nodes import REALS, become_identity, is_standard
from compressor.operators.operator import Operator
from compressor.operators.table import operator_of
from compressor.train.module.graph_module import GraphModule

NARROW_TYPES = REALS - {ir.DataType.DOUBLE}


def linearise(model: ir.Model) -> GraphModule:
    """The module of the network of absolute weights, in float64; ``model`` is not changed.

    Raises:
        UnsupportedOperator: a node has no function in torch.
        ModelError: the graph cannot be normalised.
    """
    copy = model.clone()
    for graph in copy.graphs():
        # Before nodes are edited: a zero that is made there takes the type that it finds.
        for value in graph.initializers.values():
            _widen(value)
    for node in list(copy.graph.all_nodes()):
        if is_standard(node):
            _edit(node)
    module = GraphModule(copy)
    for parameter in module.parameters():
        parameter.data.abs_()
    return module


def _widen(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is not None and tensor.dtype in NARROW_TYPES:
        value.const_value = ir.tensor(tensor.numpy().astype(np.float64), name=value.name)
        value.type = ir.TensorType(ir.DataType.DOUBLE)  # a new one: clones share theirs with the original


def _edit(node: ir.Node) -> None:
    operator = operator_of(node)
    if _bends(node, operator):
        signal = next((v for v in node.inputs if v is not None and not v.is_initializer()), None)
        # A node that writes an output of the graph has to stay, since the output's name is on it.
        if signal is not None and not node.outputs[0].is_graph_output() and len(node.outputs) == 1:
            node.outputs[0].replace_all_uses_with(signal)
        elif signal is not None:
            become_identity(node, signal)
    _widen_attributes(node)
    for index, value in enumerate(node.inputs):
        # Only where every reader adds it: a weight that is also multiplied somewhere must not become zero.
        if value is not None and operator.shifts(index) and all(operator_of(n).shifts(k) for n, k in value.uses()):
            _zero(value)


def _bends(node: ir.Node, operator: Operator) -> bool:
    """Would the node bend a path, here where it stands?"""
    if operator.synflow == "gate":
        return not _opens(node.outputs[0])
    if operator.synflow == "cap":
        # Between computed values (a Max of two branches) it chooses a path, and stays.
        return any(v is not None and v.is_initializer() for v in node.inputs)
    return operator.synflow == "bypass"


def _widen_attributes(node: ir.Node) -> None:
    """Types and tensors among the attributes; a tensor that is left out is a zero of float32 (ConstantOfShape)."""
    for name in ("to", "dtype"):
        if name in node.attributes and ir.DataType(node.attributes.get_int(name, 1)) in NARROW_TYPES:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.DOUBLE))
    if operator_of(node).one_number:
        entry = node.attributes["value"].as_tensor() if "value" in node.attributes else None
        if entry is None or entry.dtype in NARROW_TYPES:
            number = np.zeros(1) if entry is None else entry.numpy().astype(np.float64)
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(number))


def _opens(value: ir.Value) -> bool:
    """Is the value, perhaps after a move, multiplied with something that is computed?"""
    users = [node for node, _ in value.uses()]
    if value.is_graph_output() or not users:
        return False
    for node in users:
        operator = operator_of(node)
        # A move hands the gate on; what counts is what its result is multiplied with, by all that read it.
        if operator.hands_on:
            read = [v for v in node.outputs if v.uses() or v.is_graph_output()]
            if not read or not all(_opens(v) for v in read):
                return False
        elif not _multiplies(operator) or any(v is not None and v.is_initializer() for v in node.inputs):
            return False
    return True


def _multiplies(operator: Operator) -> bool:
    return operator.multiplies or len(operator.scale) > 1


def _zero(value: ir.Value) -> None:
    tensor = value.const_value if value.is_initializer() else None
    if tensor is not None and tensor.dtype.is_floating_point():
        array = tensor.numpy()
        value.const_value = ir.tensor(np.zeros(array.shape, array.dtype), name=value.name)
