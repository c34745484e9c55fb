"""What a maker of functions is told about the node that it makes one for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

import onnx_ir as ir
import torch

from compressor.errors import UnsupportedOperator
from compressor.graph.ir.nodes import default_number

Function = Callable[..., Any]
"""From the inputs of a node, in order, None where one is left out, to its output or the tuple of them."""
NestedNumbers = list[Any]


class InnerGraph(Protocol):
    """A graph inside a node, which can be run."""

    @property
    def count(self) -> int:
        """How many outputs it has."""
        ...

    def run(self, device: torch.device, training: bool, inputs: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
        """Its outputs; ``operands`` are all that the node was given."""
        ...


@dataclass(frozen=True)
class Site:
    """One node, as far as it is known before it runs.

    Attributes:
        op_type: its operator.
        name: how messages call it.
        opset: version of the operator set.
        attributes: as Python numbers, text, lists and tensors.
        constants: for each input its value where that never changes, on the CPU.
        given: for each input, whether there is one.
        wanted: for each output, whether anybody reads it.
        types: element types of inputs and outputs as declared.
        bodies: graphs among the attributes.
        carrier: the output is read by DequantizeLinear only, so floats may carry its integers, and gradients.
        train_statistics: normalise by the statistics of the batch while training.
    """

    op_type: str
    name: str
    opset: int
    attributes: Mapping[str, Any]
    constants: tuple[torch.Tensor | None, ...] = ()
    given: tuple[bool, ...] = ()
    wanted: tuple[bool, ...] = (True,)
    types: tuple[tuple[ir.DataType | None, ...], tuple[ir.DataType | None, ...]] = ((), ())
    bodies: Mapping[str, InnerGraph] = field(default_factory=dict)
    carrier: bool = False
    train_statistics: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute of the node, or ``default``."""
        return self.attributes.get(name, default)

    def number(self, name: str) -> float:
        """A number among the attributes; where it is left out, what the standard says."""
        return float(self.attributes[name]) if name in self.attributes else default_number(self.op_type, name)

    def has(self, index: int) -> bool:
        """Is there an input of that number?"""
        return index < len(self.given) and self.given[index]

    def wants(self, index: int) -> bool:
        """Does anybody read the output of that number?"""
        return index < len(self.wanted) and self.wanted[index]

    def constant(self, index: int) -> torch.Tensor | None:
        """The value of an input where it never changes."""
        return self.constants[index] if index < len(self.constants) else None

    def reader(self, index: int, attribute: str | None = None) -> Callable[[torch.Tensor | None], NestedNumbers | None]:
        """Reads a list of numbers, which older operator sets give as an attribute and newer ones as an input.

        What never changes is read now; else the function that is returned reads the tensor it is given, and
        waits for the device if the tensor lies there.
        """
        fixed: Any = self.attributes.get(attribute) if attribute is not None else None
        # Some attributes are a single number where the input is a list of one (k of TopK, axis of DFT).
        if fixed is not None and not isinstance(fixed, list):
            fixed = [fixed]
        if fixed is None and (tensor := self.constant(index)) is not None:
            fixed = tensor.reshape(-1).tolist()
        if fixed is not None or not self.has(index):
            return partial(_known, fixed)
        return numbers

    def refuse(self, fact: str) -> UnsupportedOperator:
        """The error for a node that cannot be run."""
        return UnsupportedOperator(f"{self.op_type} node {self.name!r} {fact}")


FunctionMaker = Callable[[Site], Function]


@dataclass(frozen=True)
class Told:
    """A maker of functions that take more than the inputs of the node, ahead of them.

    Attributes:
        maker: makes them.
        first: where to make tensors, and whether it is training.
    """

    maker: FunctionMaker
    first: tuple[Literal["device", "training"], ...] = ("device",)

    def __call__(self, site: Site) -> Function:
        """A function for the node."""
        return self.maker(site)


def _known(value: NestedNumbers | None, _: torch.Tensor | None = None) -> NestedNumbers | None:
    return value


def numbers(tensor: torch.Tensor | None) -> NestedNumbers | None:
    """The entries of a tensor as Python numbers."""
    return None if tensor is None else tensor.reshape(-1).tolist()


def plain(function: Function) -> FunctionMaker:
    """A maker for an operator without attributes."""
    return lambda _: function


def positive(axis: int, rank: int) -> int:
    """A possibly negative axis as a non-negative number."""
    return axis + rank if axis < 0 else axis
