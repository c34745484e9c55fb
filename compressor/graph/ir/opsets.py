"""What differs between versions of the standard operator set, read from ONNX's own schemas, and of the format.

ONNX turned attributes into inputs one operator at a time: the bounds of Slice, the sizes of Split, the axes of each
reduction in another version. Whoever makes or changes such a node names what it says, and its form follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from compressor.graph.ir.nodes import STANDARD, optional_input

SOFTMAX_OF_ONE_AXIS = 13
"""From which Softmax and its like run over one axis, and not over all later ones as well; no schema tells."""

FREE_WEIGHTS = 4
"""IR version from which on a weight is an input only where callers may override it; before, every one had to be."""

AddConstant = Callable[[str, npt.NDArray[Any]], ir.Value]
"""Makes a constant of what an input of this name says."""


def version_of(place: ir.Model | ir.Graph | ir.Function | None) -> int:
    """The version of the standard operator set; where none is known the first one, which allows least."""
    versions = {} if place is None else place.opset_imports
    return next((versions[domain] for domain in STANDARD if domain in versions), 1)


def exists(op: str, opset: int) -> bool:
    """Has an operator set this operator?"""
    return onnx.defs.has(op, opset, "")


@cache
def place_of(op: str, name: str, opset: int) -> int | None:
    """Which input of an operator is called ``name``; None where it is an attribute there, or nothing."""
    # Reading a schema takes as long as the rule of a node, and a graph may have thousands of one kind.
    inputs = [given.name for given in onnx.defs.get_schema(op, opset).inputs]
    return inputs.index(name) if name in inputs else None


def node_of(
    op: str, x: ir.Value, settings: Mapping[str, Any], opset: int, constant: AddConstant, outputs: int = 1
) -> ir.Node:
    """A node on ``x`` in the form of an operator set.

    Args:
        op: of the standard, with one operand.
        x: its operand.
        settings: what the node says beside its operand, each by the name of the attribute or the input.
        opset: version of the operator set.
        constant: called for each setting that is an input there.
        outputs: how many it has.
    """
    places = {name: place_of(op, name, opset) for name in settings}
    inputs: list[ir.Value | None] = [x, *[None] * max((place or 0 for place in places.values()), default=0)]
    for name, place in places.items():
        if place is not None:
            inputs[place] = constant(name, np.asarray(settings[name]))
    attributes = {name: settings[name] for name, place in places.items() if place is None}
    return ir.node(op, inputs, attributes=attributes, num_outputs=outputs)


def stated(
    node: ir.Node, name: str, opset: int, const: Callable[[ir.Value | None], npt.NDArray[Any] | None]
) -> npt.NDArray[Any] | None:
    """The integers that a node says of ``name``, of inputs by ``const``; None where it says none, or computes them."""
    place = place_of(node.op_type, name, opset)
    if place is not None:
        return const(optional_input(node, place))
    return np.asarray(node.attributes.get_ints(name), np.int64) if name in node.attributes else None


def dft_axis(opset: int) -> int:
    """The axis of a DFT that names none: from the first behind the batch it moved to the last before the parts."""
    return 1 if place_of("DFT", "axis", opset) is None else -2


def softmax_axes(axis: int | None, rank: int, opset: int) -> range:
    """Axes that Softmax, LogSoftmax and Hardmax run over together, of an ``axis`` attribute or None for its default."""
    alone = opset >= SOFTMAX_OF_ONE_AXIS
    first = (-1 if alone else 1) if axis is None else axis
    first += rank if first < 0 else 0
    return range(first, first + 1 if alone else rank)
