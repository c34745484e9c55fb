"""Random numbers, from torch's own generators: seeds of nodes give other numbers than in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir
import torch

from compressor.torch_ops.site import Function, FunctionMaker, Site, Told
from compressor.torch_ops.tensors import torch_dtype

Tensor = torch.Tensor


def _normal(site: Site) -> Function:
    shape, mean, scale = site.get("shape"), site.get("mean", 0.0), site.get("scale", 1.0)
    dtype = torch_dtype(ir.DataType(site.get("dtype", 1)))
    return lambda device: torch.randn(shape, dtype=dtype, device=device) * scale + mean


def _uniform(site: Site) -> Function:
    shape, low, high = site.get("shape"), site.get("low", 0.0), site.get("high", 1.0)
    dtype = torch_dtype(ir.DataType(site.get("dtype", 1)))
    return lambda device: torch.rand(shape, dtype=dtype, device=device) * (high - low) + low


def _asked(site: Site, x: Tensor) -> torch.dtype:
    return torch_dtype(ir.DataType(site.get("dtype"))) if site.get("dtype") else x.dtype


def _normal_like(site: Site) -> Function:
    mean, scale = site.get("mean", 0.0), site.get("scale", 1.0)
    return lambda x: torch.randn(x.shape, dtype=_asked(site, x), device=x.device) * scale + mean


def _uniform_like(site: Site) -> Function:
    low, high = site.get("low", 0.0), site.get("high", 1.0)
    return lambda x: torch.rand(x.shape, dtype=_asked(site, x), device=x.device) * (high - low) + low


def _bernoulli(site: Site) -> Function:
    # A drawn number has no gradient by what it was drawn from.
    return lambda x: torch.bernoulli(x.detach()).to(_asked(site, x))


def _multinomial(site: Site) -> Function:
    count, dtype = site.get("sample_size", 1), torch_dtype(ir.DataType(site.get("dtype", 6)))
    return lambda x: torch.multinomial(torch.softmax(x.detach(), 1), count, replacement=True).to(dtype)


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "Bernoulli": _bernoulli,
        "Multinomial": _multinomial,
        "RandomNormal": Told(_normal),
        "RandomNormalLike": _normal_like,
        "RandomUniform": Told(_uniform),
        "RandomUniformLike": _uniform_like,
    }
)
