"""Operators that act on each position by itself, with multidirectional broadcasting."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial, reduce
from types import MappingProxyType

import onnx_ir as ir
import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.graph.ir.opsets import place_of
from compressor.torch_ops.site import Function, FunctionMaker, Site, Told, plain
from compressor.torch_ops.tensors import LIMITS, torch_dtype

Tensor = torch.Tensor


def _div(_: Site) -> Function:
    """Integers are divided towards zero."""

    def run(a: Tensor, b: Tensor) -> Tensor:
        if a.is_floating_point() or a.is_complex():
            return a / b
        return torch.div(a, b, rounding_mode="trunc")

    return run


def _mod(site: Site) -> Function:
    # ``fmod`` has the sign of the dividend, as in C; without it the sign is that of the divisor.
    return torch.fmod if site.get("fmod", 0) else torch.remainder


def _power(site: Site) -> Function:
    """The result has the type of the base; a constant exponent is a number, which is faster and has no gradient."""
    exponent = site.constant(1)
    if exponent is not None and exponent.dim() == 0:
        number = exponent.item()
        # The root has a kernel of its own, which is faster than a power.
        if number == 0.5:
            return lambda x, _: torch.sqrt(x)
        if not isinstance(number, float) or exponent.is_floating_point():
            return lambda x, _: torch.pow(x, number).to(x.dtype)
    return lambda x, y: torch.pow(x, y).to(x.dtype)


def _shift(site: Site) -> Function:
    return torch.bitwise_left_shift if site.get("direction") == "LEFT" else torch.bitwise_right_shift


def _variadic(function: Function) -> FunctionMaker:
    def make(_: Site) -> Function:
        return lambda *values: values[0] if len(values) == 1 else reduce(function, values)

    return make


def _mean(_: Site) -> Function:
    return lambda *values: reduce(torch.add, values) / len(values)


def _clip(site: Site) -> Function:
    low, high = site.get("min"), site.get("max")
    if place_of("Clip", "min", site.opset) is None:
        return lambda x: torch.clamp(x, low, high) if low is not None or high is not None else x
    held = [site.constant(i) for i in (1, 2)]
    if any(bound is not None and bound.numel() != 1 for bound in held):
        raise site.refuse("has a bound of none or several numbers; give it one number")
    fixed = [None if bound is None else bound.item() for bound in held]
    if all(value is not None or not site.has(i) for i, value in zip((1, 2), fixed, strict=True)):
        return partial(_clip_fixed, fixed[0], fixed[1])
    return _clip_given


def _clip_fixed(low: float | None, high: float | None, x: Tensor, *_: Tensor | None) -> Tensor:
    if low is None and high is None:
        return x
    # Where the bounds cross the standard makes everything the upper one.
    if low is not None and high is not None and low > high:
        low = high
    return torch.clamp(x, low, high)


def _clip_given(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is not None:
        x = torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _leaky(site: Site) -> Function:
    alpha = site.get("alpha", 0.01)
    return lambda x: F.leaky_relu(x, alpha)


def _elu(site: Site) -> Function:
    alpha = site.get("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


def _celu(site: Site) -> Function:
    alpha = site.get("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


def _selu(site: Site) -> Function:
    alpha, gamma = site.get("alpha", 1.67326319217681884765625), site.get("gamma", 1.05070102214813232421875)
    return lambda x: F.elu(x, alpha) * gamma


def _gelu(site: Site) -> Function:
    form = site.get("approximate", "none")
    return lambda x: F.gelu(x, approximate=form)


def _swish(site: Site) -> Function:
    alpha = site.get("alpha", 1.0)
    return F.silu if alpha == 1 else lambda x: x * torch.sigmoid(alpha * x)


def _swiglu(site: Site) -> Function:
    alpha = site.get("alpha", 1.0)
    return lambda gate, linear: gate * torch.sigmoid(alpha * gate) * linear


def _hard_sigmoid(site: Site) -> Function:
    alpha, beta = site.get("alpha", 0.2), site.get("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0, 1)


def _thresholded(site: Site) -> Function:
    alpha = site.get("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


def _shrink(site: Site) -> Function:
    bias, limit = site.get("bias", 0.0), site.get("lambd", 0.5)

    def run(x: Tensor) -> Tensor:
        low, high = x < -limit, x > limit
        return torch.where(low, x + bias, torch.where(high, x - bias, torch.zeros_like(x))).to(x.dtype)

    return run


def _is_inf(site: Site) -> Function:
    negative, positive = site.get("detect_negative", 1), site.get("detect_positive", 1)
    if negative and positive:
        return torch.isinf
    if not negative and not positive:
        return lambda x: torch.zeros_like(x, dtype=torch.bool)
    return torch.isneginf if negative else torch.isposinf


def converter(target: ir.DataType, source: ir.DataType | None, saturate: bool) -> Function:
    """Conversion between element types (ONNX Cast).

    Integers below eight bits keep the low bits. Floats of eight bits saturate at their largest number.
    """
    dtype = torch_dtype(target)
    if target in LIMITS and dtype.itemsize * 8 > target.bitwidth:
        low, high = LIMITS[target]
        return lambda x: (torch.remainder(x.to(torch.int64) - low, high - low + 1) + low).to(dtype)
    if target.name.startswith("FLOAT8"):
        limit = torch.finfo(dtype).max
        return partial(_to_float8, dtype, limit, saturate)
    if target.is_integer() and (source is None or not source.is_integer()):
        # A float outside the type's range is undefined in C++; by way of int64 it wraps, as in ONNX Runtime.
        wide = dtype not in (torch.int64, torch.int32)
        return lambda x: x.to(torch.int64).to(dtype) if wide and x.is_floating_point() else x.to(dtype)
    return lambda x: x.to(dtype)


def _to_float8(dtype: torch.dtype, limit: float, saturate: bool, x: Tensor) -> Tensor:
    wide = x.to(torch.float32)
    if saturate:
        return wide.clamp(-limit, limit).to(dtype)
    found = wide.to(dtype)
    beyond = wide.abs() > limit
    infinity = torch.tensor(float("inf") if dtype == torch.float8_e5m2 else float("nan"))
    # Some of torch's conversions saturate by themselves, so what lies beyond is told by the wide number.
    return torch.where(beyond & (found.float().abs() <= limit), wide.sign() * infinity, found.float()).to(dtype)


def _cast(site: Site) -> Function:
    source = site.types[0][0] if site.types[0] else None
    target = ir.DataType(site.get("to"))
    return _converter(site, target, source)


def _converter(site: Site, target: ir.DataType, source: ir.DataType | None) -> Function:
    if ir.DataType.STRING in (source, target):
        raise site.refuse("converts text, which torch does not know; take it out of the model")
    return converter(target, source, bool(site.get("saturate", 1)))


def _cast_like(site: Site) -> Function:
    source, target = (*site.types[0], None, None)[:2]
    if target is not None:
        convert = _converter(site, target, source)
        return lambda x, _: convert(x)
    return lambda x, like: x.to(like.dtype)


def _bit_cast(site: Site) -> Function:
    dtype = torch_dtype(ir.DataType(site.get("to")))
    return lambda x: x.view(dtype)


def _dropout(site: Site) -> Function:
    """Sets a share of the entries to zero in training only; a mask that is asked for says what was kept."""
    fixed = site.get("ratio", 0.5)

    def run(training: bool, x: Tensor, ratio: Tensor | None = None, _: Tensor | None = None) -> object:
        share = float(ratio) if ratio is not None else fixed
        if not training or share == 0:
            return (x, torch.ones_like(x, dtype=torch.bool)) if site.wants(1) else x
        kept = torch.rand_like(x, dtype=torch.float32) >= share
        # Scaled, so that the expectation stays; nothing has to be done outside of training.
        found = torch.where(kept, x / (1 - share), torch.zeros_like(x))
        return (found, kept) if site.wants(1) else found

    return run


def _trilu(site: Site) -> Function:
    upper = site.get("upper", 1)
    read = site.reader(1)

    def run(x: Tensor, k: Tensor | None = None) -> Tensor:
        diagonal = (read(k) or [0])[0]
        return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)

    return run


def _identity(x: object) -> object:
    return x


_PLAIN: Mapping[str, Function] = MappingProxyType({
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Add": torch.add, "And": torch.logical_and,
    "Asin": torch.asin, "Asinh": torch.asinh, "Atan": torch.atan, "Atanh": torch.atanh,
    "BitwiseAnd": torch.bitwise_and, "BitwiseNot": torch.bitwise_not, "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor, "Ceil": torch.ceil, "Cos": torch.cos, "Cosh": torch.cosh, "Equal": torch.eq,
    "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor, "Greater": torch.gt, "GreaterOrEqual": torch.ge,
    "HardSwish": F.hardswish, "Identity": _identity, "IsNaN": torch.isnan, "Less": torch.lt,
    "LessOrEqual": torch.le, "Log": torch.log, "Mish": F.mish, "Mul": torch.mul, "Neg": torch.neg,
    "Not": torch.logical_not, "Or": torch.logical_or, "PRelu": _prelu, "Reciprocal": torch.reciprocal,
    "Relu": torch.relu, "Round": torch.round, "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin,
    "Sinh": torch.sinh, "Softplus": F.softplus, "Softsign": F.softsign, "Sqrt": torch.sqrt, "Sub": torch.sub,
    "Tan": torch.tan, "Tanh": torch.tanh, "Where": torch.where, "Xor": torch.logical_xor,
})  # fmt: skip

FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        **{name: plain(function) for name, function in _PLAIN.items()},
        "BitCast": _bit_cast,
        "BitShift": _shift,
        "Cast": _cast,
        "CastLike": _cast_like,
        "Celu": _celu,
        "Clip": _clip,
        "Div": _div,
        "Dropout": Told(_dropout, ("training",)),
        "Elu": _elu,
        "Gelu": _gelu,
        "HardSigmoid": _hard_sigmoid,
        "IsInf": _is_inf,
        "LeakyRelu": _leaky,
        "Max": _variadic(torch.maximum),
        "Mean": _mean,
        "Min": _variadic(torch.minimum),
        "Mod": _mod,
        "Pow": _power,
        "Selu": _selu,
        "Shrink": _shrink,
        "Sum": _variadic(torch.add),
        "SwiGLU": _swiglu,
        "Swish": _swish,
        "ThresholdedRelu": _thresholded,
        "Trilu": _trilu,
    }
)
