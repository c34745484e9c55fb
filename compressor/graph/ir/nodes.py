"""Questions about single nodes that concern the format, whatever operator does the work."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeVar

import numpy as np
import onnx
import onnx_ir as ir

from compressor.graph.ir.meta_keys import RECORD

SHORT_REALS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
"""Element types of real numbers in 16 bits."""
REALS = SHORT_REALS | {ir.DataType.FLOAT, ir.DataType.DOUBLE}
"""Element types of real numbers that a weight may have."""
CODES = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4})
"""Element types of whole numbers that stand for real ones in quantised weights."""
QUANTISED_BEFORE = "its weights are whole numbers; start from the model that it was quantised from, and quantise last"
"""What to do with a model of :func:`mostly_codes` that nothing else can be done with."""
STANDARD = ("", "ai.onnx")
"""Names of ONNX's own domain."""
MICROSOFT = "com.microsoft"
"""Domain of the operators that ONNX Runtime has beside ONNX's."""

_SCALARS_AND_LISTS: Final = MappingProxyType(
    {
        "value_int": ir.DataType.INT64,
        "value_ints": ir.DataType.INT64,
        "value_float": ir.DataType.FLOAT,
        "value_floats": ir.DataType.FLOAT,
    }
)
"""Attributes of Constant (opset 12) that hold numbers directly, and the type of what the node returns."""

OperatorRecord = TypeVar("OperatorRecord")


def is_standard(node: ir.Node | onnx.NodeProto) -> bool:
    """Is the operator one of ONNX's own domain, by either of its names?"""
    return node.domain in STANDARD


def operator_key(node: ir.Node) -> tuple[str, str]:
    """Domain and name of a node's operator, by which tables of operators are read."""
    return "" if is_standard(node) else node.domain, node.op_type


def same_operator(one: ir.Node, two: ir.Node) -> bool:
    """Are two nodes of one operator?"""
    return operator_key(one) == operator_key(two)


def twin_of(node: ir.Node, nodes: Mapping[str, ir.Node]) -> ir.Node | None:
    """The node of the same name and operator in another graph, whose nodes are given by name; None without one."""
    twin = nodes.get(str(node.name))
    return twin if twin is not None and same_operator(node, twin) else None


def input_of(node: ir.Node, index: int) -> ir.Value:
    """An input that the standard demands: a model that was read has it."""
    value = node.inputs[index]
    assert value is not None
    return value


def optional_input(node: ir.Node, index: int | None) -> ir.Value | None:
    """An input that may be left out, then None; None too where the operator has no such input."""
    return node.inputs[index] if index is not None and index < len(node.inputs) else None


def give_record(node: ir.Node, record: object) -> None:
    """Makes ``record`` what is known of the operator of this node, wherever a table has nothing to say."""
    node.meta[RECORD] = record


def record_of(node: ir.Node, table: Mapping[tuple[str, str], OperatorRecord]) -> OperatorRecord | None:
    """What ``table`` has on the node's operator, else the record that was given to the node; None without either."""
    found = table.get(operator_key(node))
    return node.meta.get(RECORD) if found is None else found


def fill_number(node: ir.Node) -> float:
    """The number that a node without data writes everywhere: attribute ``value``, or zero."""
    given = node.attributes.get_tensor("value", None)
    return 0.0 if given is None else float(given.numpy().ravel()[0])


def number_of(node: ir.Node, name: str) -> float:
    """A number among the attributes of a node of ONNX's own domain; where it is left out, what the standard says.

    Raises:
        KeyError: the operator has no such attribute, or none that may be left out.
    """
    return node.attributes.get_float(name) if name in node.attributes else default_number(node.op_type, name)


def default_number(op_type: str, name: str) -> float:
    """What ONNX's schema of an operator says of a float attribute that is left out; the same in all its versions.

    Raises:
        KeyError: the operator has no such attribute, or none that may be left out.
    """
    attribute = default_attribute(op_type, name)
    if not attribute.HasField("f"):
        raise KeyError(name)
    # The schema holds float32; the shortest decimal that it stands for is what the standard's page says.
    return float(str(np.float32(attribute.f)))


def default_attribute(op_type: str, name: str) -> onnx.AttributeProto:
    """What ONNX's schema of an operator says of an attribute that is left out.

    Raises:
        KeyError: the operator has no such attribute, or none that may be left out.
    """
    attribute = onnx.defs.get_schema(op_type).attributes[name]
    if attribute.required or not attribute.default_value.name:
        raise KeyError(name)
    return attribute.default_value


def is_constant(node: ir.Node) -> bool:
    """Does the node write a tensor that the file holds?"""
    return node.op_type == "Constant" and is_standard(node) and "value" in node.attributes


def written_tensor(node: ir.Node) -> ir.TensorProtocol | None:
    """The numbers that a Constant node writes; None of any other, and where an attribute of a call tells them."""
    attributes = list(node.attributes.values())
    if node.op_type != "Constant" or not is_standard(node) or len(attributes) != 1 or attributes[0].is_ref():
        return None
    attribute = attributes[0]
    if attribute.name in _SCALARS_AND_LISTS:
        return ir.tensor(attribute.value, dtype=_SCALARS_AND_LISTS[attribute.name])
    return attribute.as_tensor() if attribute.name == "value" else None


def tensor_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The numbers of an initializer or of what a Constant node writes; None for anything that is computed."""
    if value is None:
        return None
    node = value.producer()
    if node is None:
        return value.const_value if value.is_initializer() else None
    return written_tensor(node)


def dims_of(tensor: ir.TensorProtocol) -> tuple[int, ...]:
    """The shape of a tensor, whose sizes are always numbers."""
    return tuple(tensor.shape.numpy())


def become_identity(node: ir.Node, value: ir.Value) -> None:
    """Makes ``node`` hand on ``value``, so that its first output keeps its name; other outputs are gone."""
    node.op_type, node.domain = "Identity", ""
    node.meta.pop(RECORD, None)
    node.attributes.clear()
    node.resize_inputs(1)
    node.replace_input_with(0, value)
    node.resize_outputs(1)


def mostly_codes(graph: ir.Graph) -> bool:
    """Are more than half of the numbers in tables and matrices codes?"""
    tensors = [v.const_value for v in graph.initializers.values() if v.const_value is not None]
    whole, reals = (
        sum(tensor.size for tensor in tensors if tensor.dtype in kinds and len(tensor.shape) > 1)
        for kinds in (CODES, REALS)
    )
    return whole > reals
