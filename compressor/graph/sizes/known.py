"""What a walk over a graph finds, and small helpers of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.errors import ModelError
from compressor.graph.ir.twins import Twins
from compressor.graph.sizes.contrib import ShapeRecords
from compressor.graph.sizes.dims import Dim, Size
from compressor.graph.sizes.shape_rules import DimShape

Inferred = dict[str, tuple[DimShape | None, ir.DataType | None]]

MeasuredValue = tuple[tuple[int, ...], ir.DataType | None]
"""Shape and element type of a value in a run."""
UNMEASURED: Mapping[ir.Value, MeasuredValue] = MappingProxyType({})


@dataclass
class Known:
    """What one walk found.

    Attributes:
        records: of operators, by which it was found.
        shapes: of values; None where one could not be inferred.
        dtypes: element types.
        data: small values; an object array where some elements are sizes and no numbers.
        equations: pairs of sizes that must be equal, or one of them 1, for the graph to run.
        fixed: nodes of which nothing depends on a symbol.
        sequences: values that are sequences -> element type; ``shapes`` has the shape of their elements.
        empty: sequences without elements.
    """

    records: ShapeRecords
    shapes: dict[ir.Value, DimShape | None] = field(default_factory=dict)
    dtypes: dict[ir.Value, ir.DataType | None] = field(default_factory=dict)
    data: dict[ir.Value, Array] = field(default_factory=dict)
    equations: dict[tuple[Dim, Dim], None] = field(default_factory=dict)
    fixed: set[ir.Node] = field(default_factory=set)
    sequences: dict[ir.Value, ir.DataType | None] = field(default_factory=dict)
    empty: set[ir.Value] = field(default_factory=set)

    def on(self, twins: Twins) -> Known:
        """These findings for the values of a clone; equations and fixed nodes are those of the graph itself."""
        shapes, dtypes, data = twins.of_values(self.shapes), twins.of_values(self.dtypes), twins.of_values(self.data)
        sequences, empty = twins.of_values(self.sequences), set(twins.of_values(dict.fromkeys(self.empty)))
        return Known(self.records, shapes, dtypes, data, self.equations, self.fixed, sequences, empty)

    def take_over(self, node: ir.Node, base: Known) -> None:
        """What ``base``, of the same graph, knows of the outputs of ``node``."""
        for value in node.outputs:
            self.shapes[value] = base.shapes[value]
            self.dtypes[value] = base.dtypes[value]
            if value in base.data:
                self.data[value] = base.data[value]


def initializer_of(value: ir.Value) -> ir.TensorProtocol | None:
    """The tensor of an initializer that nobody can override from outside, else None."""
    if value.is_initializer() and not value.is_graph_input():
        return value.const_value
    return None


def merged(shape: DimShape | None, followed: DimShape | None) -> DimShape | None:
    """Numbers where ONNX's inference found them, else what the rule says."""
    if shape is None or followed is None or len(shape) != len(followed):
        # Of different ranks, the rule is believed: it has seen the data that inference may lack.
        return followed if followed is not None else shape
    return tuple(d if isinstance(d, int) else f for d, f in zip(shape, followed, strict=True))


def mapped(array: Array, function: Callable[[object], object]) -> Array:
    """``function`` of every entry; an array of objects."""
    made = np.empty(array.shape, object)
    for place, entry in np.ndenumerate(array):
        made[place] = function(entry)
    return made


def numbers_of(array: Array, dtype: np.dtype[np.generic]) -> Array:
    """An array without sizes as one of numbers; others as they are."""
    return array if any(isinstance(entry, Size) for entry in array.ravel()) else array.astype(dtype)


def first_input(node: ir.Node) -> ir.Value:
    """The first input of ``node``.

    Raises:
        ModelError: it is left out.
    """
    value = node.inputs[0] if node.inputs else None
    if value is None:
        raise ModelError(f"node {node.name!r} ({node.op_type}) lacks its first input")
    return value
