"""Operators that act on each position by itself, with ONNX's multidirectional broadcasting."""

from __future__ import annotations

import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.operators.propagate import absorbing, carry_zero, elementwise, quotient
from compressor.operators.rule import OpRule, broadcast, required

BROADCASTING = (
    "Add", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip

ABSORBING = ("And", "Mul")
"""As above, and zero where one operand is."""

UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "CastLike", "Ceil", "Celu", "Clip",
    "Cos", "Cosh", "Dropout", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity", "IsInf",
    "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid",
    "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
    "BitCast",
)  # fmt: skip


def unary(node: ir.Node, coupling: Coupling) -> None:
    """Outputs are labelled as the first input; further inputs are scalar settings, or lend a type only."""
    terms = coupling.layout(node.inputs[0])
    for out in node.outputs:
        coupling.label(out, terms)
    for setting in node.inputs[1:] if node.op_type != "CastLike" else ():
        coupling.freeze(node, setting, None, f"is a setting of {node.op_type}")


def _trilu(node: ir.Node, coupling: Coupling) -> None:
    value = required(node, 0)
    rank = len(coupling.shape(value))
    coupling.label(node.outputs[0], coupling.restrict(node, value, {rank - 1, rank - 2}, "Trilu counts along it"))


RULES = (
    OpRule(BROADCASTING, broadcast, constants=elementwise),
    OpRule(ABSORBING, broadcast, constants=absorbing),
    OpRule(("Div",), broadcast, constants=quotient),
    OpRule(UNARY, unary, constants=elementwise),
    OpRule(("Gelu",), unary, constants=carry_zero),  # onnx.reference lacks it
    OpRule(("Trilu",), _trilu, constants=carry_zero),
)
