"""Operators that read shapes or make tensors from sizes (ONNX Shape-25, ConstantOfShape-25, Range-11 ...)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir
import torch

from compressor.torch_ops.site import Function, FunctionMaker, Site, Told
from compressor.torch_ops.tensors import torch_dtype

Tensor = torch.Tensor


def _shape(site: Site) -> Function:
    start, end = site.get("start"), site.get("end")
    if start is None and end is None:
        # On the CPU: whoever reads a shape as numbers would wait for a device.
        return lambda x: torch.tensor(x.shape, dtype=torch.int64)
    span = slice(start, end)
    return lambda x: torch.tensor(x.shape[span], dtype=torch.int64)


def _size(_: Site) -> Function:
    return lambda x: torch.tensor(x.numel(), dtype=torch.int64)


def _constant_of_shape(site: Site) -> Function:
    value = site.get("value")
    dtype = torch.float32 if value is None else value.dtype
    number = 0.0 if value is None else value.reshape(-1)[0].item()
    read = site.reader(0)
    return lambda device, sizes: torch.full(read(sizes) or [], number, dtype=dtype, device=device)


def _range(site: Site) -> Function:
    readers = [site.reader(i) for i in range(3)]

    def run(device: torch.device, *given: Tensor) -> Tensor:
        start, limit, step = ((read(t) or [0])[0] for read, t in zip(readers, given, strict=True))
        dtype = given[0].dtype
        exact = torch.float64 if dtype.is_floating_point else torch.int64
        count = max(-int((start - limit) // step), 0)
        # Multiples of the step, as the standard has it: summing it up drifts.
        steps = torch.arange(count, dtype=exact, device=device)
        return torch.add(steps * step, start).to(dtype)

    return run


def _eye(site: Site) -> Function:
    diagonal, asked = site.get("k", 0), site.get("dtype")

    def run(x: Tensor) -> Tensor:
        dtype = torch_dtype(ir.DataType(asked)) if asked else x.dtype
        rows = torch.arange(x.shape[0], device=x.device)[:, None]
        return torch.eq(torch.arange(x.shape[1], device=x.device) - rows, diagonal).to(dtype)

    return run


def _constant(site: Site) -> Function:
    """What normalisation left as a node: a constant that is an output of the graph."""
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in site.attributes:
            given = site.attributes[name]
            value = given if isinstance(given, Tensor) else torch.tensor(given)
            return value.to
    raise site.refuse("holds text or a sparse tensor, which torch does not know; take it out of the model")


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "Constant": Told(_constant),
        "ConstantOfShape": Told(_constant_of_shape),
        "EyeLike": _eye,
        "Range": Told(_range),
        "Shape": _shape,
        "Size": _size,
    }
)
