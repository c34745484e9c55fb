"""Pointwise functions, as operators and in small steps; none jumps, so that rounding stays harmless."""

from __future__ import annotations

from typing import Any

import numpy as np

from .builder import Value
from .growing import Block
from .operators import Builder

PLAIN: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("Relu", {}, 11),
    ("LeakyRelu", {"alpha": 0.1}, 11),
    ("Sigmoid", {}, 11),
    ("Tanh", {}, 11),
    ("HardSigmoid", {"alpha": 0.3}, 11),
    ("Elu", {"alpha": 0.8}, 11),
    ("Selu", {}, 11),
    ("Softplus", {}, 11),
    ("Softsign", {}, 11),
    ("Abs", {}, 11),
    ("Neg", {}, 11),
    ("Sin", {}, 11),
    ("Erf", {}, 11),
    ("Celu", {"alpha": 0.7}, 12),
    ("HardSwish", {}, 14),
    ("Mish", {}, 18),
    ("Gelu", {}, 20),
)


def activate(b: Builder, x: Value) -> Value:
    """One of the activations most networks have."""
    kind = b.pick("Relu", "Relu", "LeakyRelu", "Tanh", "silu", "relu6", "HardSwish")
    if kind == "silu":
        return silu(b, x)
    if kind == "relu6":
        return b.clip(x, 0.0, 6.0)
    if kind == "HardSwish":
        return hard_swish(b, x)
    return b.op(kind, x)


def pointwise(b: Builder, x: Value) -> Value:
    kind, attributes, _ = b.pick(*(entry for entry in PLAIN if entry[2] <= b.opset))
    return b.op(kind, x, **attributes)


def clip(b: Builder, x: Value) -> Value:
    return b.clip(x, *b.pick((0.0, 6.0), (-0.5, 0.8), (0.0, None), (None, 0.7)))


def prelu(b: Builder, x: Value) -> Value:
    """One slope a channel, or one for all."""
    if b.chance(0.25):
        return b.op("PRelu", x, b.uniform(1, low=0.1, high=0.4), shape=x.shape)
    tail = (1,) * (x.rank - 1 - x.axis)
    return b.op("PRelu", x, b.uniform(x.width, *tail, low=0.05, high=0.6), shape=x.shape)


def silu(b: Builder, x: Value) -> Value:
    return b.op("Mul", x, b.op("Sigmoid", x))


def hard_swish(b: Builder, x: Value) -> Value:
    form = b.pick("steps", "gate", "op") if b.opset >= 14 else b.pick("steps", "gate")
    if form == "op":
        return b.op("HardSwish", x)
    if form == "gate":
        return b.op("Mul", x, b.op("HardSigmoid", x, alpha=1 / 6))
    y = b.clip(b.op("Add", x, b.const(np.float32(3))), 0.0, 6.0)
    return b.op("Div", b.op("Mul", x, y), b.const(np.float32(6)))


def gelu(b: Builder, x: Value) -> Value:
    """Gelu by Erf, by Tanh or as the operator."""
    form = b.pick("erf", "tanh", "op") if b.opset >= 20 else b.pick("erf", "tanh")
    if form == "op":
        return b.op("Gelu", x, approximate=b.pick("none", "tanh"))
    if form == "erf":
        inner = b.op("Erf", b.op("Div", x, b.const(np.float32(np.sqrt(2)))))
        half = b.op("Mul", x, b.const(np.float32(0.5)))
    else:
        cube = b.op("Mul", b.op("Pow", x, b.const(np.float32(3))), b.const(np.float32(0.044715)))
        inner = b.op("Tanh", b.op("Mul", b.op("Add", x, cube), b.const(np.float32(np.sqrt(2 / np.pi)))))
        half = b.op("Mul", b.const(np.float32(0.5)), x)
    return b.op("Mul", half, b.op("Add", inner, b.const(np.float32(1))))


def elu_plus_one(b: Builder, x: Value) -> Value:
    return b.op("Add", b.op("Elu", x), b.const(np.float32(1)))


def mish(b: Builder, x: Value) -> Value:
    return b.op("Mul", x, b.op("Tanh", b.op("Softplus", x)))


def where_leaky(b: Builder, x: Value) -> Value:
    """Where(x > 0, x, slope * x) with one slope a channel."""
    positive = b.op("Greater", x, b.scalar(0.0), shape=x.shape)
    return b.op("Where", positive, x, b.op("Mul", x, b.per_channel(x, 0.1, 0.6)))


def power(b: Builder, x: Value) -> Value:
    """Sqrt(x^2 + 1), or x^2."""
    square = b.op("Pow", x, b.scalar(2.0))
    return b.op("Sqrt", b.op("Add", square, b.scalar(1.0))) if b.chance(0.6) else square


def bounded(b: Builder, x: Value) -> Value:
    """Max and Min with one constant a channel."""
    return b.op("Min", b.op("Max", x, b.per_channel(x, -1.5, -0.5)), b.per_channel(x, 0.5, 1.5))


def soft_reciprocal(b: Builder, x: Value) -> Value:
    return b.op("Reciprocal", b.op("Add", b.op("Abs", x), b.scalar(0.5)))


def snake(b: Builder, x: Value) -> Value:
    """x + sin(ax)^2 / a with one a for every channel."""
    a = b.per_channel(x)
    wave = b.op("Sin", b.op("Mul", x, a))
    return b.op("Add", x, b.op("Div", b.op("Mul", wave, wave), a))


BLOCKS = (
    Block("pointwise", pointwise, 2),
    Block("clip", clip),
    Block("prelu", prelu),
    Block("silu", silu),
    Block("hard_swish", hard_swish),
    Block("gelu", gelu),
    Block("elu_plus_one", elu_plus_one),
    Block("mish", mish),
    Block("where_leaky", where_leaky),
    Block("power", power),
    Block("bounded", bounded),
    Block("soft_reciprocal", soft_reciprocal),
    Block("snake", snake),
)
