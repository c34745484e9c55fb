"""Seeded inputs for a model whose data nobody has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compressor.graph.binding import Shape
from compressor.graph.evaluate import Array
from compressor.graph.shapes import Shapes

FEW = 2
"""Exclusive bound of an integer input that picks from no table: a mask, a flag, a token type."""
COPIES = frozenset({"Add", "Cast", "Clip", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators through which an index reaches its table more or less as it was."""


def feeds(model: ir.Model, inputs: Mapping[str, Shape], shapes: Shapes, seed: int) -> dict[str, Array]:
    """Seeded inputs: standard normal numbers; indices within the tables they pick from."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for value in model.graph.inputs:
        if value.is_initializer():
            continue  # a default stands in the file
        dtype, shape = (value.dtype or ir.DataType.FLOAT), inputs[str(value.name)]
        if dtype.is_floating_point():
            made[str(value.name)] = rng.standard_normal(shape).astype(dtype.numpy())
        elif dtype == ir.DataType.STRING:
            made[str(value.name)] = np.full(shape, "", object)
        elif dtype == ir.DataType.BOOL:
            made[str(value.name)] = rng.random(shape) < 0.7
        else:
            made[str(value.name)] = rng.integers(0, _bound(value, shapes), shape).astype(dtype.numpy())
    return made


def _bound(value: ir.Value, shapes: Shapes) -> int:
    """Exclusive bound of an integer input: the smallest table that it, or a plain copy of it, picks from."""
    tables: list[int] = []
    reached, todo = {value}, [value]
    while todo:
        for node, index in todo.pop().uses():
            if node.op_type == "Gather" and index == 1 and node.inputs[0] is not None:
                table = shapes(node.inputs[0])
                tables += [table[node.attributes.get_int("axis", 0)]] if table else []
            elif node.op_type in COPIES:
                todo += [v for v in node.outputs if v not in reached]
                reached |= set(node.outputs)
    return max(1, min(tables, default=FEW))
