"""ONNX's reference implementation, with kernels of our own where it takes less than operators are defined for.

It gathers from 64 positions at most, and knows ways to sample by their names from operator set 20 on alone. Importing
it takes 60 ms, so that modules do so when something is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_grid_sample import GridSample as NewGridSample

from compressor.core.arrays import Array

_NEWER_NAMES: Final = MappingProxyType({"bilinear": "linear", "bicubic": "cubic"})


def reference_of(
    model: onnx.ModelProto | onnx.NodeProto, opsets: Mapping[str, int] | None = None
) -> ReferenceEvaluator:
    """What runs a model, or a single node of these operator sets."""
    return ReferenceEvaluator(
        model, opsets=None if opsets is None else dict(opsets), new_ops=[GatherElements, GridSample]
    )


class GatherElements(OpRun):
    """From any number of positions."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, axis: int = 0) -> tuple[Array]:
        # Along other axes indices may be fewer than what they pick from.
        along = axis % data.ndim
        near = tuple(slice(None) if k == along else slice(size) for k, size in enumerate(indices.shape))
        return (np.take_along_axis(data[near], indices.astype(np.int64), along),)


class GridSample(NewGridSample):
    """By the names of any operator set."""

    op_domain = ""

    def _run(self, x: Any, grid: Any, mode: Any = None, padding_mode: Any = None, align_corners: Any = None) -> Any:
        mode = _NEWER_NAMES.get(mode, mode)
        sampled: Callable[..., Any] = super()._run
        return sampled(x, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)
