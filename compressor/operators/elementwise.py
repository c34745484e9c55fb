"""Operators that act on each position by itself, with ONNX's multidirectional broadcasting."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.operators.facts import EVERY, Host
from compressor.operators.operator import Operator, required
from compressor.operators.propagate import absorbing, quotient

BROADCAST = "*a, ... -> *a"


def _arithmetic(name: str, **facts: Any) -> Operator:
    facts = {"pointwise": True, "on_host": Host.ARITHMETIC, **facts}
    return Operator(name, signature=BROADCAST, heads=True, arithmetic=True, **facts)


def _logic(*names: str, on_host: Host = Host.ARITHMETIC, **facts: Any) -> tuple[Operator, ...]:
    facts = {"pointwise": True, **facts}
    return tuple(
        Operator(n, signature=BROADCAST, heads=True, differentiable=False, on_host=on_host, **facts) for n in names
    )


def unary(node: ir.Node, coupling: Coupling) -> None:
    """Outputs are labelled as the first input; further inputs are scalar settings."""
    like_first(node, coupling)
    for setting in node.inputs[1:]:
        coupling.freeze(node, setting, None, f"is a setting of {node.op_type}")


def like_first(node: ir.Node, coupling: Coupling) -> None:
    """Outputs are labelled as the first input; further inputs lend a type only."""
    terms = coupling.layout(node.inputs[0])
    for out in node.outputs:
        coupling.label(out, terms)
    for other in node.inputs[1:]:
        coupling.ignore(other)


def _unary(*names: str, **facts: Any) -> tuple[Operator, ...]:
    facts = {"labels": unary, "pointwise": True, **facts}
    return tuple(Operator(name, **facts) for name in names)


def _trilu(node: ir.Node, coupling: Coupling) -> None:
    value = required(node, 0)
    rank = len(coupling.shape(value))
    coupling.label(node.outputs[0], coupling.restrict(node, value, {rank - 1, rank - 2}, "Trilu counts along it"))


OPERATORS = (
    # broadcasting
    _arithmetic("Add", addends=EVERY),
    _arithmetic("Div", constants=quotient, scale=(0,)),
    _arithmetic("Max", clamps=True),
    _arithmetic("Mean", on_host=Host.NEVER),
    _arithmetic("Min", synflow="cap", clamps=True),
    _arithmetic("Mod", settings=(1,)),
    _arithmetic("Mul", constants=absorbing, scale=EVERY),
    _arithmetic("Pow", settings=(1,)),
    _arithmetic("Sub", addends=(0,), subtracted=(1,)),
    _arithmetic("Sum", addends=EVERY),
    _arithmetic("Where"),
    *_logic("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor"),
    *_logic("And", constants=absorbing),
    *_logic("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", on_host=Host.NEVER),
    Operator("PRelu", signature=BROADCAST, heads=True, pointwise=True, activation=True, scale=(1,)),
    # of one operand: functions
    *_unary("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Erf", "Exp", "Log", "Shrink", "Sin",
            "Sinh", "Tan"),
    *_unary("Abs", "Ceil", "Floor", "Neg", "Reciprocal", "Round", "Sign", "Sqrt", on_host=Host.ARITHMETIC),
    *_unary("Celu", "Elu", "HardSwish", "LeakyRelu", "Mish", "Relu", "Selu", "Softplus", "Swish", "ThresholdedRelu",
            activation=True),
    *_unary("HardSigmoid", "Sigmoid", "Tanh", activation=True, synflow="gate"),
    *_unary("Softsign", activation=True, synflow="bypass"),
    *_unary("Clip", activation=True, synflow="bypass", settings=(1, 2), on_host=Host.ARITHMETIC, clamps=True),
    *_unary("Gelu", activation=True, pointwise=False, keeps_zero=True),  # onnx.reference lacks it
    *_unary("BitwiseNot", "IsInf", "IsNaN", differentiable=False),
    *_unary("Not", differentiable=False, on_host=Host.ARITHMETIC),
    # of one operand: numbers stay, or nearly
    *_unary("Cast", "Identity", on_host=Host.ARITHMETIC),
    *_unary("CastLike", labels=like_first, on_host=Host.ARITHMETIC),
    *_unary("BitCast", differentiable=False, bits=True),
    *_unary("Dropout", host=(1, 2)),
    Operator("Trilu", labels=_trilu, keeps_zero=True, host=(1,)),
)  # fmt: skip
