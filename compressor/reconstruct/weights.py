"""Weights as operators read them: an initializer, maybe integers on a grid, maybe moved on the way.

New numbers are written back to where the old ones came from; onto the grid, if they are on one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.errors import tool_fault
from compressor.graph.ir.edit import constant_array
from compressor.graph.ir.evaluate import evaluate
from compressor.graph.ir.nodes import input_of, is_standard, optional_input
from compressor.operators import quantization_grid
from compressor.operators.quantization_grid import GridNumbers
from compressor.operators.table import operator_of
from compressor.reconstruct.form import Matrix, Shape, Unrepairable, as_float64

REPLACEABLE = "its weight is an input that the caller may replace"
"""Why a layer cannot be written."""


@dataclass(frozen=True)
class ReadWeight:
    """What an operator reads of an initializer.

    Attributes:
        initializer: where the numbers are.
        place: int64 of the shape that the operator sees, flat positions in the initializer; None: as it is.
        reals: the real numbers that the initializer, of integers on a grid, is made; None: it holds real ones itself.
        follows: constants whose grids become as much coarser as its own where new numbers ask for it, as that of a bias
            has the scale of weight and input; None: the grid stays, and numbers end where it does.
    """

    initializer: ir.Value
    place: npt.NDArray[np.int64] | None
    reals: ir.Value | None = None
    follows: tuple[ReadWeight, ...] | None = None

    @property
    def differentiable(self) -> ir.Value:
        """The value that holds the weight as real numbers, before it is moved."""
        return self.initializer if self.reals is None else self.reals

    def read(self) -> Array:
        """The weight as the operator sees it."""
        return self._moved(self._numbers())

    def write(self, weight: Matrix) -> None:
        """Replaces it, in the element type and under the name that it has; on a grid by the nearest that is there.

        Raises:
            ProofFailed: what was written is not what :meth:`stored` says, by which it was judged.
        """
        judged = self.stored(weight)
        numbers = self._scattered(weight)
        coarser = self._coarser(numbers)
        for constant in self.follows or () if coarser is not None else ():
            constant._put(constant._numbers(), coarser)
        self._put(numbers, coarser)
        # A scale may have half precision.
        if self.reals is not None and not np.allclose(self.read(), judged, rtol=1e-3):
            raise tool_fault(f"weight {self.initializer.name!r} was not written as it was judged")

    def stored(self, weight: Matrix) -> Matrix:
        """What would be read after ``weight`` was written, where that is rounded to a grid; else itself."""
        if self.reals is None:
            return weight
        numbers = self._scattered(weight)
        coarser = self._coarser(numbers)
        codes = quantization_grid.codes_for(self.initializer, numbers, coarser)
        return as_float64(self._moved(quantization_grid.real(self.initializer, codes, coarser)))

    @property
    def scale(self) -> ir.Value | None:
        """The step, or steps, of its grid."""
        maker = None if self.reals is None else self.reals.producer()
        return None if maker is None else optional_input(maker, operator_of(maker).grid[0].scale)

    def _put(self, numbers: Array, coarser: GridNumbers | None) -> None:
        """Writes ``numbers`` of the shape of the initializer."""
        if self.reals is None:
            # The runtime reads it where it lies, in row-major order.
            _replace(self.initializer, numbers.astype(constant_array(self.initializer).dtype, order="C"))
            return
        codes = quantization_grid.codes_for(self.initializer, numbers, coarser)
        if coarser is not None and (scale := self.scale) is not None:
            held = constant_array(scale)
            _replace(scale, (held.astype(np.float32) * coarser).astype(held.dtype))
        _replace(self.initializer, codes)

    def _coarser(self, numbers: Array) -> GridNumbers | None:
        return None if self.follows is None else quantization_grid.coarser_for(self.initializer, numbers)

    def _numbers(self) -> Array:
        array = constant_array(self.initializer)
        return array if self.reals is None else quantization_grid.real(self.initializer, array)

    def _moved(self, array: Array) -> Array:
        return array if self.place is None else array.ravel()[self.place]

    def _scattered(self, weight: Matrix) -> Array:
        """The numbers of the initializer once those of the operator are ``weight``."""
        if self.place is None:
            return weight
        flat = as_float64(self._numbers()).ravel().copy()
        flat[self.place.ravel()] = weight.ravel()
        return flat.reshape(constant_array(self.initializer).shape)

    def same(self, other: ReadWeight) -> bool:
        """Do both read the same numbers in the same way?"""
        if self.reals is not other.reals:
            return False
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
    while value is not None and constant_behind(value) is None and (node := value.producer()) is not None:
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
    found = None if value is None else constant_behind(value)
    if found is None:
        return None
    array = constant_array(found.initializer)
    tensor = _tensor(found.initializer)
    if found.reals is None and tensor is not None and not tensor.dtype.is_floating_point():
        raise Unrepairable("its weight is quantised")
    if not array.size:
        raise Unrepairable("its weight holds no number")
    return replace(found, place=_followed(array.shape, chain, opsets) if chain else None)


def constant_behind(value: ir.Value) -> ReadWeight | None:
    """A value that is an initializer, or real numbers made of the integers of one; None where it is neither."""
    if _tensor(value) is not None:
        return ReadWeight(value, None)
    node = value.producer()
    if node is None or operator_of(node).encodes != "reals" or not is_standard(node):
        return None
    codes, *settings = node.inputs
    tensor = _tensor(codes)
    if codes is None or tensor is None or tensor.dtype.is_floating_point():
        return None
    # A grid that is computed, or that callers may replace, is not known here.
    fixed = all(v is None or (_tensor(v) is not None and not v.is_graph_input()) for v in settings)
    return ReadWeight(codes, None, value) if fixed else None


def may_be_replaced(values: Iterable[ir.Value | None]) -> bool:
    """Is one of them a default that callers may replace? Old files list all initializers as inputs."""
    return any(value is not None and value.is_initializer() and value.is_graph_input() for value in values)


def readers(value: ir.Value) -> set[tuple[str, int]]:
    """Nodes, and which of their inputs, that an initializer reaches, moved or not."""
    found: set[tuple[str, int]] = set()
    todo, seen = [value], {value}
    while todo:
        for node, index in todo.pop().uses():
            # Movements hand the numbers on, as does what makes reals of them: who reads the result reads the weight.
            if index == 0 and (operator_of(node).moves or operator_of(node).encodes == "reals"):
                todo += [v for v in node.outputs if v not in seen]
                seen.update(node.outputs)
            else:
                found.add((str(node.name), index))
    return found


def _tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    return value.const_value if value is not None and value.is_initializer() else None


def _followed(shape: Shape, chain: list[ir.Value], opsets: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """Runs the movements, last first in ``chain``, on positions instead of numbers."""
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


def _replace(value: ir.Value, array: Array) -> None:
    value.const_value = ir.tensor(array, name=value.name)


def growing(weight: ReadWeight, bias: ReadWeight | None) -> ReadWeight:
    """``weight`` with leave to make its grid coarser, where nobody else reads the scale and a bias' own can follow."""
    own = bias is not None and bias.reals is not None
    scales = [found.scale for found in (weight, *((bias,) if bias is not None and own else ()))]
    if any(scale is None or len(scale.uses()) > 1 or scale.is_graph_output() for scale in scales):
        return weight
    if len({constant_array(scale).shape for scale in scales if scale is not None}) > 1:
        return weight
    return replace(weight, follows=(bias,) if bias is not None and own else ())
