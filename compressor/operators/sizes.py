"""Shapes of a graph, by ONNX's inference and by what records say of operators that it does not know."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from compressor.graph.sizes.binding import Shape
from compressor.graph.sizes.shapes import Shapes, infer_shapes
from compressor.operators.table import RULES


def infer(model: ir.Model, shapes: Mapping[str, Shape] | None = None, dims: Mapping[str, int] | None = None) -> Shapes:
    """As :func:`compressor.graph.sizes.shapes.infer_shapes`, by the records that there are."""
    return infer_shapes(model, RULES, shapes, dims)
