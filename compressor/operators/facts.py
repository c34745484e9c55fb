"""Values that fields of a record take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array

NONE: tuple[int, ...] = ()
EVERY = range(1 << 16)
"""Every input of a node, however many it has."""
INTEGERS = "computes with integers, which have no gradient"
PACKED = "reads packed integers, which have no gradient"
FUSION = "is a fusion of ONNX Runtime, which other runtimes do not know"
"""Why an operator has no function of torch."""
AS_INFINITE = 1e30
"""Stands for infinity among floats, where infinity times zero would be no number."""


class Neutral(Enum):
    """What leaves a reduction over a set as it is when it is added to the set."""

    ZERO = "zero"
    ONE = "one"
    LOWEST = "lowest"
    HIGHEST = "highest"

    def of(self, dtype: np.dtype[np.generic]) -> float | int:
        """The number itself, for an element type; the extremes of integers and truth values are their own."""
        if self in (Neutral.ZERO, Neutral.ONE):
            return int(self is Neutral.ONE)
        if dtype.kind == "b":
            return int(self is Neutral.HIGHEST)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype.str)
            return limits.max if self is Neutral.HIGHEST else limits.min
        return AS_INFINITE if self is Neutral.HIGHEST else -AS_INFINITE


class Normalises(Enum):
    """Whose scale and shift a normalisation undoes."""

    EACH_CHANNEL = "each channel"
    ALL_TOGETHER = "all together"


class Host(IntEnum):
    """Where an operator of shape arithmetic runs when a graph is trained.

    NEVER: where the data is. GROWS: it makes large tensors of small ones, so on the host only if its result is read
    there. ARITHMETIC: on the host if all operands are. ALWAYS: its result is a shape.
    """

    NEVER = 0
    GROWS = 1
    ARITHMETIC = 2
    ALWAYS = 3


@dataclass(frozen=True)
class Grid:
    """Inputs that hold scale and zero point of another input, ``scale * (integer - zero point)``.

    Attributes:
        scale: number of the input that is the scale; None: the operator takes none.
        zero: number of the input that is the zero point; None: the operator takes none.
        axis: where a vector of them runs along; None: attribute ``axis`` says it.
    """

    scale: int | None = None
    zero: int | None = None
    axis: int | None = 0

    def along(self, node: ir.Node) -> int:
        """The axis at ``node``, which may hold the input transposed."""
        if self.axis is None:
            return node.attributes.get_int("axis", 1)
        # A transposed weight has its outputs in front.
        return 0 if node.attributes.get_int("transB", 0) else self.axis


@dataclass(frozen=True)
class GateProduct:
    """Gates of a recurrent operator that are linear in what they read, all in the same.

    Attributes:
        gates: their places in the stack of gates.
        reads_input: the input of the step is among what they read.
        reads_state: the hidden states of the step before are.
        reset: place of the gate whose sigmoid multiplies those first; None: they are read as they are.
    """

    gates: tuple[int, ...]
    reads_input: bool = True
    reads_state: bool = True
    reset: int | None = None

    def operands(self, x: Array, h: Array) -> Array:
        """What the gates read of inputs [steps, inputs] and hidden states [steps, hidden], side by side."""
        return np.concatenate([part for part, read in ((x, self.reads_input), (h, self.reads_state)) if read], axis=1)
