"""Operators between floats and integers on a grid (ONNX QuantizeLinear-25, DequantizeLinear-25)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir
import torch

from compressor.torch_ops.elementwise import converter
from compressor.torch_ops.site import Function, FunctionMaker, Site, plain, positive
from compressor.torch_ops.tensors import DTYPES, LIMITS, torch_dtype

Tensor = torch.Tensor


def requantise(scaled: Tensor, zero: Tensor) -> Tensor:
    """Rounds to the nearest even integer, adds the zero point and saturates in its type."""
    limits = torch.iinfo(zero.dtype)
    return (torch.round(scaled) + zero).clamp(limits.min, limits.max).to(zero.dtype)


def _spread(setting: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """A scale or zero point, one for all, one for each index along the axis or one for each block, against x."""
    if setting.numel() == 1 and setting.dim() <= 1:
        return setting.reshape(())
    axis = positive(axis, x.dim())
    if block:
        # The last block may reach beyond the axis.
        return setting.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    if setting.dim() == x.dim():
        return setting
    return setting.reshape([-1 if k == axis else 1 for k in range(x.dim())])


def _target(site: Site) -> ir.DataType:
    """The type that QuantizeLinear makes: that of the zero point, else the one asked for, else uint8."""
    declared = site.types[0][2] if len(site.types[0]) > 2 else None
    if site.has(2) and declared is not None:
        return declared
    made = site.types[1][0] if site.types[1] else None
    if site.has(2) and (zero := site.constant(2)) is not None:
        return next(k for k, v in DTYPES.items() if v == zero.dtype)
    return ir.DataType(site.get("output_dtype", 0) or (made or ir.DataType.UINT8))


def _quantize(site: Site) -> Function:
    """Rounding passes gradients on as if it were not there, saturation stops them (straight-through estimator)."""
    axis, block = site.get("axis", 1), site.get("block_size", 0)
    target = _target(site)
    torch_dtype(target)  # refused now, if torch has no such type
    if target not in LIMITS:
        return _quantize_float(site, target, axis, block)
    low, high = LIMITS[target]
    dtype = torch_dtype(target)
    precision = site.get("precision", 0)
    precise = torch_dtype(ir.DataType(precision)) if precision else None

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        if precise is not None:
            x, scale = x.to(precise), scale.to(precise)
        steps = x / _spread(scale, x, axis, block).to(x.dtype if x.is_floating_point() else scale.dtype)
        # The gradient of the identity, the value of the rounding.
        steps = steps + (torch.round(steps) - steps).detach()
        if zero is not None:
            steps = steps + _spread(zero, x, axis, block).to(steps.dtype)
        steps = steps.clamp(low, high)
        # Where only DequantizeLinear reads them, integers stay floats, or no gradient would pass.
        return steps if site.carrier else steps.to(dtype)

    return run


def _quantize_float(site: Site, target: ir.DataType, axis: int, block: int) -> Function:
    convert = converter(target, None, bool(site.get("saturate", 1)))

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        steps = x / _spread(scale, x, axis, block)
        if zero is not None:
            steps = steps + _spread(zero.to(steps.dtype), x, axis, block)
        rounded: Tensor = convert(steps)
        if site.carrier:
            return steps + (rounded.to(steps.dtype) - steps).detach()
        return rounded

    return run


def _dequantize(site: Site) -> Function:
    axis, block = site.get("axis", 1), site.get("block_size", 0)
    asked = site.get("output_dtype", 0)
    dtype = torch_dtype(ir.DataType(asked)) if asked else None

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        # Computed in float32 where the scale has 16 bits, and rounded once.
        wide = x.to(torch.float32) if scale.dtype.itemsize < 4 else x.to(scale.dtype)
        if zero is not None:
            wide = wide - _spread(zero.to(wide.dtype), x, axis, block)
        return (wide * _spread(scale, x, axis, block)).to(dtype or scale.dtype)

    return run


def _dynamic(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale and zero point from the data's own range, which always contains zero."""
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    # A range of nothing (all zeros) would divide by zero.
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.round((-low / scale).clamp(0, 255)).to(torch.uint8)
    return requantise(x / scale, zero), scale, zero


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "DequantizeLinear": _dequantize,
        "DynamicQuantizeLinear": plain(_dynamic),
        "QuantizeLinear": _quantize,
    }
)
