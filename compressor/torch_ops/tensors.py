"""Tensors of ONNX as tensors of torch and back, bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import ml_dtypes
import numpy as np
import onnx_ir as ir
import torch

from compressor.core.arrays import Array
from compressor.errors import ModelError

DTYPES: Mapping[ir.DataType, torch.dtype] = MappingProxyType(
    {
        ir.DataType.FLOAT: torch.float32,
        ir.DataType.DOUBLE: torch.float64,
        ir.DataType.FLOAT16: torch.float16,
        ir.DataType.BFLOAT16: torch.bfloat16,
        ir.DataType.INT8: torch.int8,
        ir.DataType.INT16: torch.int16,
        ir.DataType.INT32: torch.int32,
        ir.DataType.INT64: torch.int64,
        ir.DataType.UINT8: torch.uint8,
        ir.DataType.UINT16: torch.uint16,
        ir.DataType.UINT32: torch.uint32,
        ir.DataType.UINT64: torch.uint64,
        ir.DataType.BOOL: torch.bool,
        ir.DataType.COMPLEX64: torch.complex64,
        ir.DataType.COMPLEX128: torch.complex128,
        ir.DataType.FLOAT8E4M3FN: torch.float8_e4m3fn,
        ir.DataType.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
        ir.DataType.FLOAT8E5M2: torch.float8_e5m2,
        ir.DataType.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
        ir.DataType.INT4: torch.int8,
        ir.DataType.UINT4: torch.uint8,
        ir.DataType.INT2: torch.int8,
        ir.DataType.UINT2: torch.uint8,
    }
)
"""Element types; integers of two and four bits, which torch cannot compute with, are held in eight."""

LIMITS: Mapping[ir.DataType, tuple[int, int]] = MappingProxyType(
    {
        ir.DataType.INT2: (-2, 1),
        ir.DataType.UINT2: (0, 3),
        ir.DataType.INT4: (-8, 7),
        ir.DataType.UINT4: (0, 15),
        ir.DataType.INT8: (-128, 127),
        ir.DataType.UINT8: (0, 255),
        ir.DataType.INT16: (-(1 << 15), (1 << 15) - 1),
        ir.DataType.UINT16: (0, (1 << 16) - 1),
        ir.DataType.INT32: (-(1 << 31), (1 << 31) - 1),
        ir.DataType.UINT32: (0, (1 << 32) - 1),
    }
)
"""Smallest and largest number of integer types."""

WIDE = frozenset({torch.uint16, torch.uint32, torch.uint64})
"""Types that torch stores and hardly computes with."""

_VIEWED: Mapping[np.dtype[np.generic], tuple[type[np.generic], torch.dtype]] = MappingProxyType(
    {
        np.dtype(ml_dtypes.bfloat16): (np.int16, torch.bfloat16),
        np.dtype(ml_dtypes.float8_e4m3fn): (np.uint8, torch.float8_e4m3fn),
        np.dtype(ml_dtypes.float8_e4m3fnuz): (np.uint8, torch.float8_e4m3fnuz),
        np.dtype(ml_dtypes.float8_e5m2): (np.uint8, torch.float8_e5m2),
        np.dtype(ml_dtypes.float8_e5m2fnuz): (np.uint8, torch.float8_e5m2fnuz),
    }
)
_WIDENED: Mapping[np.dtype[np.generic], type[np.generic]] = MappingProxyType(
    {
        np.dtype(ml_dtypes.int4): np.int8,
        np.dtype(ml_dtypes.uint4): np.uint8,
        np.dtype(ml_dtypes.int2): np.int8,
        np.dtype(ml_dtypes.uint2): np.uint8,
    }
)


def torch_dtype(dtype: ir.DataType) -> torch.dtype:
    """The element type in torch.

    Raises:
        ModelError: torch has none.
    """
    if dtype not in DTYPES:
        raise _unknown(dtype.name)
    return DTYPES[dtype]


def _unknown(dtype: object) -> ModelError:
    return ModelError(f"torch has no element type {dtype}; convert the model to another")


def log_clamped(values: torch.Tensor) -> torch.Tensor:
    """Logarithms of probabilities; zero, which has none, counts as 1e-12."""
    return values.clamp_min(1e-12).log()


def to_torch(array: Array) -> torch.Tensor:
    """A copy of the array as a tensor of torch, on the CPU.

    Raises:
        ModelError: torch has no such element type (strings, floats of four bits).
    """
    # A copy: weights may lie in a mapped file that nobody may write to, and torch would share its memory.
    copy = np.array(array, order="C")
    if copy.dtype in _VIEWED:
        raw, dtype = _VIEWED[copy.dtype]
        # Torch cannot read numpy's types of ml_dtypes, so the bits are handed over as integers.
        return torch.from_numpy(copy.view(raw)).view(dtype)
    if copy.dtype in _WIDENED:
        return torch.from_numpy(copy.astype(_WIDENED[copy.dtype]))
    try:
        return torch.from_numpy(copy)
    except TypeError:
        raise _unknown(copy.dtype) from None


def to_numpy(tensor: torch.Tensor) -> Array:
    """The tensor as an array, on the CPU; floats that numpy lacks as those of ``ml_dtypes``."""
    # Torch cannot hand these types to numpy; their bits go as integers.
    plain = tensor.detach().cpu().contiguous()
    for dtype, (raw, viewed) in _VIEWED.items():
        if plain.dtype == viewed:
            bits = plain.view(torch.int16 if raw is np.int16 else torch.uint8).numpy()
            return bits.view(dtype)
    array: Array = plain.numpy()
    return array
