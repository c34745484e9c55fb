"""Writes a masked convolution as the smaller ones that its mask comes to; outputs are the same, zeros are not computed.

Each piece reads its channels (Gather, or nothing where it reads all) and is a Conv whose kernel is the piece's
box. A box that starts at tap r of a kernel reads what the whole kernel reads there if the padding shrinks by r
dilations; where that makes the padding negative, which ONNX forbids, the input is sliced first. Classes of equal size
are one grouped Conv.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.edit import FreeNames, add_constant, put_before, take_over
from compressor.graph.ir.nodes import input_of
from compressor.graph.ir.opsets import node_of, version_of
from compressor.graph.tensors.weights import taken
from compressor.operators.padding import same_padding
from compressor.reconstruct.layers import LayerPair
from compressor.structures.masks.pieces import Box, ChannelNumbers, FilterClass, SmallConv, consecutive, one_grouped

OPEN_END = 2**63 - 1
"""End of a Slice that goes to the end."""


@dataclass(frozen=True)
class Windowing:
    """How a convolution slides.

    Attributes:
        kernel: taps of each spatial axis, as are all others.
        strides: steps.
        dilations: distances of taps.
        begins: padding before.
        ends: padding after.
    """

    kernel: ChannelNumbers
    strides: ChannelNumbers
    dilations: ChannelNumbers
    begins: ChannelNumbers
    ends: ChannelNumbers

    @staticmethod
    def of(node: ir.Node, kernel: ChannelNumbers) -> Windowing | None:
        """Of a Conv; None where its padding follows from the size of the input."""
        rank, attributes = len(kernel), node.attributes
        strides = tuple(attributes.get_ints("strides", [1] * rank))
        dilations = tuple(attributes.get_ints("dilations", [1] * rank))
        mode = attributes.get_string("auto_pad", "NOTSET")
        pads = tuple(attributes.get_ints("pads", [0] * 2 * rank))
        if mode == "VALID":
            pads = (0,) * 2 * rank
        elif mode != "NOTSET":
            # With a stride the padding of SAME depends on the size of the input, which may be open.
            if any(step != 1 for step in strides):
                return None
            spare = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
            sides = [same_padding(n, lower=mode == "SAME_LOWER") for n in spare]
            pads = (*(before for before, _ in sides), *(after for _, after in sides))
        return Windowing(kernel, strides, dilations, pads[:rank], pads[rank:])

    def within(self, box: Box) -> tuple[list[int], list[int]]:
        """Padding of the kernel that is ``box``, before and after; negative where the input has to be cut."""
        before = [p - d * a for p, d, (a, _) in zip(self.begins, self.dilations, box, strict=True)]
        after = [p - d * (k - b) for p, d, k, (_, b) in zip(self.ends, self.dilations, self.kernel, box, strict=True)]
        return before, after


class Lowering:
    """Writes the nodes of one layer, in front of it.

    Args:
        layer: the convolution.
        windowing: how it slides.
    """

    def __init__(self, layer: LayerPair, windowing: Windowing) -> None:
        graph = layer.node.graph
        assert graph is not None
        self._layer, self._windowing, self._graph, self._free = layer, windowing, graph, FreeNames(graph)
        self._x = input_of(layer.node, 0)
        self.weights: list[str] = []

    def write(self, weight: Array, bias: Array | None, classes: Sequence[FilterClass]) -> None:
        """Replaces the layer.

        Args:
            weight: [out, channels, *kernel], zero where it is masked.
            bias: [out].
            classes: of the mask.
        """
        order = [k for one in classes for k in one.filters]
        # One node instead of several, where the classes allow it.
        if one_grouped(list(classes)):
            made = self._grouped(weight, bias, classes)
        else:
            parts = [self._summed(weight, bias, one) for one in classes]
            made = parts[0] if len(parts) == 1 else self._node("Concat", parts, {"axis": 1})
        # Classes put filters in another order, which is undone behind them.
        if order != sorted(order):
            made = self._gathered(made, np.argsort(order))
        take_over(self._layer.node, made)

    def _grouped(self, weight: Array, bias: Array | None, classes: Sequence[FilterClass]) -> ir.Value:
        pieces = [one.pieces[0] for one in classes]
        channels = [c for piece in pieces for c in piece.channels]
        x = self._read(channels, weight.shape[1])
        arrays = [_block(weight, one.filters, one.pieces[0]) for one in classes]
        order = [k for one in classes for k in one.filters]
        own = None if bias is None else taken(bias, {0: order})
        return self._conv(x, np.concatenate(arrays), own, pieces[0].box, len(classes))

    def _summed(self, weight: Array, bias: Array | None, one: FilterClass) -> ir.Value:
        own = None if bias is None else taken(bias, {0: one.filters})
        total: ir.Value | None = None
        for piece in one.pieces:
            x = self._read(piece.channels, weight.shape[1])
            block = _block(weight, one.filters, piece)
            # The bias is added once, with the first piece.
            made = self._conv(x, block, own if total is None else None, piece.box, 1)
            total = made if total is None else self._node("Add", [total, made])
        assert total is not None
        return total

    def _conv(self, x: ir.Value, weight: Array, bias: Array | None, box: Box, groups: int) -> ir.Value:
        before, after = self._windowing.within(box)
        x = self._cut(x, before, after)
        pads = [max(0, n) for n in (*before, *after)]
        name = f"{self._layer.weight.initializer.name}.piece"
        held = add_constant(self._graph, name, weight, self._free)
        self.weights.append(str(held.name))
        inputs: list[ir.Value | None] = [x, held]
        if bias is not None:
            inputs.append(self._constant("bias", bias))
        attributes: dict[str, int | list[int]] = {
            "strides": list(self._windowing.strides),
            "dilations": list(self._windowing.dilations),
            "pads": pads,
            "group": groups,
        }
        return self._node("Conv", inputs, attributes)

    def _read(self, channels: Sequence[int], of: int) -> ir.Value:
        if list(channels) == list(range(of)):
            return self._x
        if consecutive(tuple(channels)):
            return self._sliced(self._x, [1], [channels[0]], [channels[-1] + 1])
        return self._gathered(self._x, channels)

    def _gathered(self, value: ir.Value, places: Sequence[int] | Array) -> ir.Value:
        return self._node("Gather", [value, self._constant("order", np.asarray(places, np.int64))], {"axis": 1})

    def _cut(self, x: ir.Value, before: Sequence[int], after: Sequence[int]) -> ir.Value:
        """The input without what lies outside of every window of a box."""
        # Only axes on which the box lies so far inside that padding would be negative.
        axes = [k for k, pair in enumerate(zip(before, after, strict=True)) if min(pair) < 0]
        if not axes:
            return x
        starts = [max(0, -before[k]) for k in axes]
        ends = [after[k] if after[k] < 0 else OPEN_END for k in axes]
        return self._sliced(x, [k + 2 for k in axes], starts, ends)

    def _sliced(self, x: ir.Value, axes: Sequence[int], starts: Sequence[int], ends: Sequence[int]) -> ir.Value:
        bounds = {"starts": starts, "ends": ends, "axes": axes}
        return self._put(node_of("Slice", x, bounds, version_of(self._graph), self._constant))

    def _constant(self, name: str, array: Array) -> ir.Value:
        return add_constant(self._graph, f"{self._layer.name}.{name}", array, self._free)

    def _node(
        self, kind: str, inputs: Sequence[ir.Value | None], attributes: dict[str, int | list[int]] | None = None
    ) -> ir.Value:
        return self._put(ir.node(kind, inputs, attributes=attributes))

    def _put(self, node: ir.Node) -> ir.Value:
        made = put_before(self._layer.node, node, self._layer.name, self._free)
        made.type = self._layer.node.outputs[0].type
        return made


def _block(weight: Array, filters: ChannelNumbers, piece: SmallConv) -> Array:
    """The weights of some filters in one piece."""
    taps = {axis: range(first, end) for axis, (first, end) in enumerate(piece.box, 2)}
    return np.ascontiguousarray(taken(weight, {0: filters, 1: piece.channels, **taps}))
