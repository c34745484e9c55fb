"""Weights as operators read them: an initializer, maybe moved on the way, and how to write new numbers back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.edit import constant_array
from compressor.graph.ir.evaluate import evaluate
from compressor.graph.ir.nodes import input_of, is_standard
from compressor.operators.table import operator_of
from compressor.reconstruct.form import Matrix, Unrepairable

REPLACEABLE = "its weight is an input that the caller may replace"
"""Why a layer cannot be written."""


@dataclass(frozen=True)
class ReadWeight:
    """What an operator reads of an initializer.

    Attributes:
        initializer: where the numbers are.
        place: int64 of the shape that the operator sees, flat positions in the initializer; None: as it is.
    """

    initializer: ir.Value
    place: npt.NDArray[np.int64] | None

    def read(self) -> Array:
        """The weight as the operator sees it."""
        array = constant_array(self.initializer)
        return array if self.place is None else array.ravel()[self.place]

    def write(self, weight: Matrix) -> None:
        """Replaces it, in the element type and under the name that it has."""
        old = constant_array(self.initializer)
        new = weight if self.place is None else _scattered(old, self.place, weight)
        array = new.astype(old.dtype, order="C")  # the runtime reads it where it lies, in row-major order
        self.initializer.const_value = ir.tensor(array, name=self.initializer.name)

    def same(self, other: ReadWeight) -> bool:
        """Do both read the same numbers in the same way?"""
        if self.place is None or other.place is None:
            return self.place is other.place
        return np.array_equal(self.place, other.place)


def weight_of(value: ir.Value | None, opsets: Mapping[str, int]) -> ReadWeight | None:
    """The weight behind ``value``; None where it is computed from something that is not in the file.

    Args:
        value: what a node reads.
        opsets: versions by domain.

    Raises:
        Unrepairable: it is in the file, but not as numbers that can be fitted.
    """
    chain: list[ir.Value] = []
    while value is not None and not value.is_initializer() and (node := value.producer()) is not None:
        # Positions can be followed only if shapes, permutations and indices are constants.
        if any(_tensor(v) is None and v is not None for v in node.inputs[1:]) or not is_standard(node):
            return None
        # A weight that is computed from a constant is reported with a reason; what is no weight at all is passed over.
        if not operator_of(node).moves:
            if _tensor(node.inputs[0] if node.inputs else None) is not None:
                raise Unrepairable(f"its weight is computed by {node.op_type}")
            return None
        chain.append(value)
        value = node.inputs[0]
    if value is None or (tensor := _tensor(value)) is None:
        return None
    if not tensor.dtype.is_floating_point():
        raise Unrepairable("its weight is quantised")
    if not tensor.size:
        raise Unrepairable("its weight holds no number")
    return ReadWeight(value, _followed(value, chain, opsets) if chain else None)


def may_be_replaced(values: Iterable[ir.Value | None]) -> bool:
    """Is one of them a default that callers may replace? Old files list all initializers as inputs."""
    return any(value is not None and value.is_initializer() and value.is_graph_input() for value in values)


def readers(value: ir.Value) -> set[tuple[str, int]]:
    """Nodes, and which of their inputs, that an initializer reaches, moved or not."""
    found: set[tuple[str, int]] = set()
    todo, seen = [value], {value}
    while todo:
        for node, index in todo.pop().uses():
            # Movements hand the numbers on, so that whoever reads their result reads the weight.
            if operator_of(node).moves and index == 0:
                todo += [v for v in node.outputs if v not in seen]
                seen.update(node.outputs)
            else:
                found.add((str(node.name), index))
    return found


def _tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    return value.const_value if value is not None and value.is_initializer() else None


def _followed(value: ir.Value, chain: list[ir.Value], opsets: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """Runs the movements, last first in ``chain``, on positions instead of numbers."""
    shape = constant_array(value).shape
    place = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    for moved in reversed(chain):
        node = moved.producer()
        assert node is not None
        feeds = {str(v.name): constant_array(v) for v in node.inputs[1:] if v is not None}
        # Positions go the way of the numbers, so that any movement ONNX has is followed without a rule of its own.
        found = evaluate(node, {**feeds, str(input_of(node, 0).name): place}, opsets)
        if found is None:
            raise Unrepairable(f"its weight is moved by {node.op_type} node {node.name!r} in a way not known here")
        place = np.asarray(found[moved.index() or 0], np.int64)
    # Two places would ask for two different new numbers at one position of the initializer.
    if len(np.unique(place)) < place.size:
        raise Unrepairable("its weight holds one number in several places")
    return place


def _scattered(old: Array, place: npt.NDArray[np.int64], weight: Matrix) -> Array:
    flat = old.ravel().copy()
    flat[place.ravel()] = weight.ravel().astype(old.dtype)
    return flat.reshape(old.shape)
