"""Tiny models, files and settings for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from compressor.config.data import DataSettings


def taking(*inputs: str, output: str = "float[N,10] y") -> ir.Model:
    """A model with these inputs, in ONNX text; what it computes does not matter here."""
    name = inputs[0].split()[-1]
    text = f'<ir_version: 10, opset_import: ["": 18]> g ({", ".join(inputs)}) => ({output}) {{ y = Identity({name}) }}'
    return ir.from_proto(onnx.parser.parse_model(text))


def settings(data: object, **values: object) -> DataSettings:
    return DataSettings.parse({"data": str(data), **values})


def saved(path: Path, *, compressed: bool = False, **arrays: Any) -> Path:
    write = np.savez_compressed if compressed else np.savez
    write(path, **arrays)
    return path


def pictures(rng: np.random.Generator, *shape: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def everything(count: int) -> NDArray[np.int64]:
    return np.arange(count, dtype=np.int64)


def close(found: object, wanted: object, *, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    """Numbers are equal up to rounding, whatever their type."""
    assert_allclose(np.asarray(found, np.float64), np.asarray(wanted, np.float64), rtol=rtol, atol=atol)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    kind = rng.integers(4)
    start, end = sorted(int(k) for k in rng.integers(0, len(data), 2))
    if kind == 0:
        return data[:end]
    if kind == 1:
        return data[:start] + data[end:]
    changed = bytearray(data)
    if kind == 2:
        changed[start : start + 4] = rng.bytes(4)
    else:
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)
