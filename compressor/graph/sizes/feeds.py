"""Seeded inputs for a model whose data nobody has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.errors import NothingToProve
from compressor.graph.ir.control_flow import loop_settings
from compressor.graph.sizes.binding import Shape
from compressor.graph.sizes.probes import TOTAL_BUDGET
from compressor.graph.sizes.room import demand_room
from compressor.graph.sizes.shapes import Shapes

LOOP_ROUNDS = (2, 4)
"""Least and largest number of times that a loop is run whose number of rounds is an input."""
BYTE_TYPES = (ir.DataType.UINT8, ir.DataType.INT8)
BYTE = 255
FEW_VALUES = 2
"""Exclusive bound of an integer input that picks from no table: a mask, a flag, a token type."""


def feeds(
    model: ir.Model, inputs: Mapping[str, Shape], shapes: Shapes, seed: int, *, zeros: bool = False
) -> dict[str, Array]:
    """Seeded inputs: standard normal numbers; indices within the tables they pick from.

    Args:
        model: whose inputs are made.
        inputs: their shapes.
        shapes: what is known of the model.
        seed: of all randomness.
        zeros: whole numbers are all zero, the one index that every table has.

    Raises:
        OutOfMemory: they do not fit into memory, or a run on them cannot.
    """
    demand_room(model, inputs, shapes)
    rng = np.random.default_rng(seed)
    largest = shapes.largest(inputs, FEW_VALUES - 1)
    loops = loop_settings(model.graph)
    made: dict[str, Array] = {}
    for value in model.graph.inputs:
        if value.is_initializer():
            continue  # a default stands in the file
        name, dtype = str(value.name), (value.dtype or ir.DataType.FLOAT)
        shape = inputs[name]
        if dtype.is_floating_point():
            made[name] = np.asarray(rng.standard_normal(shape)).astype(dtype.numpy())
        elif dtype == ir.DataType.STRING:
            made[name] = np.full(shape, "", object)
        elif dtype == ir.DataType.BOOL:
            # A loop that does not start shows nothing.
            made[name] = np.asarray((rng.random(shape) < 0.7) | (name in loops))
        else:
            # A narrow type may not hold the largest index of its table.
            top = min(0 if zeros else largest.get(name, FEW_VALUES - 1), int(np.iinfo(dtype.numpy()).max))
            low, high = LOOP_ROUNDS if name in loops and not zeros else (0, top)
            made[name] = np.asarray(rng.integers(low, high + 1, shape)).astype(dtype.numpy())
            # Bytes are pixels, or numbers on a grid, of which small ones show little; masks of bytes get some zeros.
            free = dtype in BYTE_TYPES and name not in loops and not zeros
            if free and shapes.largest(inputs, BYTE).get(name, BYTE) == BYTE:
                whole = np.iinfo(dtype.numpy())
                wide = rng.integers(whole.min, whole.max + 1, shape).astype(dtype.numpy())
                made[name] = np.where(rng.random(shape) < 0.5, wide, made[name])
    return made


def demand_tensors(model: ir.Model, remedy: str) -> None:
    """Raises NothingToProve where an input is a sequence or optional: what these hold cannot be made up.

    Args:
        model: whose inputs would be made.
        remedy: what the user can do about it.
    """
    for value in model.graph.inputs:
        if value.type is not None and not isinstance(value.type, ir.TensorType):
            raise NothingToProve(f"input {value.name!r} is no tensor, and what it holds cannot be made up; {remedy}")


@dataclass(frozen=True)
class Attempt:
    """Inputs to run a model on.

    Attributes:
        feed: arrays by name.
        instead: they are only for a model that took none of those before.
    """

    feed: dict[str, Array]
    instead: bool = False


def probe_inputs(model: ir.Model, shapes: Shapes, seed: int) -> Iterator[Attempt]:
    """Seeded inputs at each probe size, and what to try where a runtime refuses all of these.

    Args:
        model: whose inputs are made.
        shapes: what is known of the model.
        seed: of the first; each has one of its own.
    """
    sizes = [shapes.inputs]
    others = [shapes.other_inputs, shapes.far_inputs]
    sizes += [bound for k, bound in enumerate(others) if bound is not None and bound not in [*sizes, *others[:k]]]
    for k, bound in enumerate(sizes):
        # A seed for each size, so that no input is a part of another.
        yield Attempt(feeds(model, bound, shapes, seed + k))
    # Past the budget a runtime that takes none of the others would fill the memory before it says so.
    most = max(TOTAL_BUDGET, shapes.elements_at(shapes.inputs))
    spare = (bound for bound in shapes.spare_inputs if shapes.elements_at(bound) <= most)
    for bound in chain([shapes.inputs], spare):
        # Zeros first: every table has that index.
        for zeros in (True, False):
            yield Attempt(feeds(model, bound, shapes, seed, zeros=zeros), instead=True)
