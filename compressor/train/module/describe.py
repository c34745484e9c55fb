"""From a node of the graph to what a maker gets to know about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir
import torch

from compressor.operators.table import operator_of
from compressor.torch_ops.site import Function, Site
from compressor.torch_ops.tensors import WIDE, to_torch, torch_dtype
from compressor.train.module.program import NodeBody

_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def site_of(
    node: ir.Node,
    opset: int,
    constants: Mapping[ir.Value, torch.Tensor],
    bodies: Mapping[str, NodeBody],
    train_bn: bool,
) -> Site:
    """What is known of the node before it runs."""
    return Site(
        op_type=node.op_type,
        name=str(node.name),
        opset=opset,
        attributes={k: _plain(a) for k, a in node.attributes.items() if a.type not in _GRAPHS},
        constants=tuple(constants.get(v) if v is not None else None for v in node.inputs),
        given=tuple(v is not None for v in node.inputs),
        # A result without a name, or one that nobody reads, need not be computed; kernels ask for that.
        wanted=tuple(v.name != "" and bool(v.uses() or v.is_graph_output()) for v in node.outputs),
        types=(tuple(map(_dtype, node.inputs)), tuple(map(_dtype, node.outputs))),
        bodies=bodies,
        carrier=operator_of(node).encodes == "integers" and _only_dequantised(node.outputs[0]),
        train_statistics=train_bn,
    )


def _plain(attribute: ir.Attr) -> Any:
    """An attribute's value; tensors as those of torch, lists as lists."""
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        # torch has no tensors of text, and no kernel reads one.
        return None if tensor.dtype == ir.DataType.STRING else to_torch(tensor.numpy())
    return list(attribute.value) if isinstance(attribute.value, (list, tuple)) else attribute.value


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    if value is None:
        return None
    return value.dtype or (value.const_value.dtype if value.const_value is not None else None)


def _only_dequantised(value: ir.Value) -> bool:
    return not value.is_graph_output() and all(
        # Then nobody sees the integers themselves, and a gradient may pass through the pair of operators.
        operator_of(node).encodes == "reals" and index == 0
        for node, index in value.uses()
    )


def on_int64(node: ir.Node, function: Function) -> Function:
    """The function, run on 64-bit integers where an operand or result is of a type torch cannot compute with."""
    made = [_torch_dtype(v) for v in node.outputs]
    # What works on bits depends on the width, which 64 bits would change.
    if operator_of(node).bits or not WIDE.intersection((*made, *(_torch_dtype(v) for v in node.inputs))):
        return function
    return _through_int64(function, made)


def _torch_dtype(value: ir.Value | None) -> torch.dtype | None:
    dtype = _dtype(value)
    # Only unsigned types can be WIDE; asking torch for the others would fail for text.
    return torch_dtype(dtype) if dtype is not None and dtype.name.startswith("UINT") else None


def _through_int64(function: Function, made: list[torch.dtype | None]) -> Callable[..., Any]:
    def narrow(result: Any, dtype: torch.dtype | None) -> Any:
        return result.to(dtype) if dtype in WIDE and isinstance(result, torch.Tensor) else result

    def run(*operands: Any) -> Any:
        wide = (v.to(torch.int64) if isinstance(v, torch.Tensor) and v.dtype in WIDE else v for v in operands)
        result = function(*wide)
        if type(result) is tuple:
            return tuple(narrow(r, d) for r, d in zip(result, made, strict=False))
        return narrow(result, made[0])

    return run
