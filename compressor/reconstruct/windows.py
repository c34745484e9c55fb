"""Convolutions as matrices (ONNX Conv-22, ConvTranspose-22): any number of spatial axes, grouped, depthwise.

A transposed convolution reads its input with zeros between the numbers, its kernel reversed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.operators.padding import same_padding
from compressor.operators.table import operator_of
from compressor.operators.weight import weight_axes
from compressor.reconstruct.form import VARYING, Matrix, Pick, Shape, Unrepairable, as_float64

READS_BETWEEN = "it reads its input between positions"
"""What is said of a deformable convolution."""


@dataclass(frozen=True)
class ConvWindows:
    """A convolution.

    Attributes:
        groups: number of groups.
        shape: shape of the weight.
        strides: one number for each spatial axis, as are the next two.
        dilations: as in the node.
        begins: padding before the first number; None: so that input and output have the sizes they have.
        extra: positions that the output of a transposed convolution has beyond what its windows reach.
        late: of an odd padding of unknown place, the larger part comes first.
        transposed: ConvTranspose.
    """

    groups: int
    shape: Shape
    strides: Shape
    dilations: Shape
    begins: Shape | None
    extra: Shape
    late: bool
    transposed: bool

    @property
    def _kernel(self) -> Shape:
        return self.shape[2:]

    @property
    def _spans(self) -> list[int]:
        return [d * (k - 1) + 1 for d, k in zip(self.dilations, self._kernel, strict=True)]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Groups, outputs and contracted positions of :meth:`matrix`."""
        first, second = self.shape[0] // self.groups, self.shape[1]
        outputs, inputs = (second, first) if self.transposed else (first, second)
        return self.groups, outputs, inputs * prod(self.shape[2:])

    def matrix(self, weight: Array) -> Matrix:
        """[(g o), i, *k] or, transposed, [(g i), o, *k] -> [g, o, (i *k)]."""
        if not self.transposed:
            return as_float64(weight).reshape(self.groups, self.shape[0] // self.groups, -1)
        # ONNX ConvTranspose has inputs on the first axis, grouped, and outputs of one group on the second.
        parts = as_float64(weight).reshape(self.groups, self.shape[0] // self.groups, self.shape[1], -1)
        return parts.transpose(0, 2, 1, 3).reshape(self.groups, self.shape[1], -1)

    def weight(self, matrix: Matrix) -> Matrix:
        """Turns a matrix back into the operator's weight: the inverse of :meth:`matrix`."""
        if not self.transposed:
            return matrix.reshape(self.shape)
        parts = matrix.reshape(self.groups, self.shape[1], self.shape[0] // self.groups, -1)
        return parts.transpose(0, 2, 1, 3).reshape(self.shape)

    def resized(self, *, outs: int | None = None, inner: int | None = None) -> Shape:
        """The shape of a weight with other numbers of filters or input channels, of each group."""
        first, second = self.shape[0] // self.groups, self.shape[1]
        before, after = (inner, outs) if self.transposed else (outs, inner)
        first, second = first if before is None else before, second if after is None else after
        return (first * self.groups, second, *self._kernel)

    def count(self, output: Shape) -> int:
        """Rows in an output of this shape: samples times positions."""
        return output[0] * prod(output[2:])

    def rows(self, data: Array, output: Shape, pick: Pick) -> Matrix:
        """Windows of the padded input: [groups, rows, (i *k)]."""
        rank = len(self._kernel)
        axes = tuple(range(2, 2 + rank))
        # A transposed convolution is a plain one of stride 1 over the input with zeros between.
        if self.transposed:
            data = _with_zeros(data, self.strides)
        for axis, (begin, length) in enumerate(self._places(data.shape, output), 2):
            data = _framed(data, axis, begin, length)
        # A view without copies: of all windows only the picked rows are ever made.
        seen = np.lib.stride_tricks.sliding_window_view(data, self._spans, axes)
        steps = [slice(None, None, 1 if self.transposed else s) for s in self.strides]
        taps = [slice(None, None, d) for d in self.dilations]
        seen = seen[(slice(None), slice(None), *steps, *taps)]
        if self.transposed:
            # A transposed convolution scatters; seen from its output, the kernel is read backwards.
            seen = np.flip(seen, tuple(range(2 + rank, 2 + 2 * rank)))
        # Rows are counted over samples and positions of the output, as in :meth:`targets`.
        places = np.unravel_index(pick, (output[0], *output[2:]))
        taken = np.moveaxis(seen, 1, 1 + rank)[places]
        return as_float64(taken).reshape(len(pick), self.groups, -1).transpose(1, 0, 2)

    def _places(self, data: Shape, output: Shape) -> list[tuple[int, int]]:
        """For each spatial axis: padding before the (spread) input, and the length that windows slide over."""
        found = []
        for axis, span in enumerate(self._spans):
            size, out, stride = data[2 + axis], output[2 + axis], self.strides[axis]
            if self.transposed:
                # By ONNX ConvTranspose: out = stride * (in - 1) + output_padding + span - pads; ``size - 1`` is stride
                # * (in - 1).
                spare = size - 1 + span + self.extra[axis] - out
                given = spare // 2 + (spare % 2 if self.late else 0) if self.begins is None else self.begins[axis]
                found.append((span - 1 - given, out + span - 1))
            else:
                # Windows reach exactly so far; what the input has beyond is never read.
                length = (out - 1) * stride + span
                given = same_padding(length - size, lower=self.late)[0] if self.begins is None else self.begins[axis]
                found.append((given, length))
        return found

    def targets(self, output: Array, pick: Pick) -> Matrix:
        """Outputs as rows of a regression: float64[groups, rows, outputs]."""
        places = np.unravel_index(pick, (output.shape[0], *output.shape[2:]))
        taken = np.moveaxis(output, 1, -1)[places]
        return as_float64(taken).reshape(len(pick), self.groups, -1).transpose(1, 0, 2)

    def spread(self, bias: Matrix, rank: int) -> Matrix:
        """A number for each output channel, to broadcast against the output: [1, groups x outputs, 1 ...]."""
        return bias.reshape(1, -1, *(1,) * (rank - 2))

    def gather(self, bias: Array, rank: int) -> Matrix:
        """From the vector that the node holds, or from what :meth:`spread` gives."""
        channels = self.shape[1] * self.groups if self.transposed else self.shape[0]
        # An Add behind the convolution may hold a map of positions, which no vector can.
        if bias.size not in (1, channels) or (bias.ndim == rank and bias.shape[1] != bias.size):
            raise Unrepairable(VARYING)
        return np.broadcast_to(as_float64(bias).ravel(), (channels,)).reshape(self.groups, -1)


def windows(node: ir.Node, held: int, shapes: tuple[Shape, Shape, Shape]) -> ConvWindows:
    """The form of a convolution whose weight is operand ``held``; ``shapes`` are those of input, weight and output.

    It is transposed where the kernel's first axis, by the operator's signature, is summed over.

    Raises:
        Unrepairable: its sampling points are moved by another input.
    """
    operator, weight = operator_of(node), shapes[1]
    if operator.window is not None and operator.window.moved:
        raise Unrepairable(READS_BETWEEN)
    axes = weight_axes(operator, node, held, weight)
    transposed = axes.inputs_first
    rank = len(weight) - 2
    attributes = node.attributes

    def numbers(name: str) -> Shape:
        return tuple(attributes.get_ints(name, [1] * rank))

    mode = attributes.get_string("auto_pad", "NOTSET")
    begins: Shape | None = tuple(attributes.get_ints("pads", [0] * 2 * rank))[:rank]
    if mode == "VALID":
        begins = (0,) * rank
    # Padding then follows from the sizes, which are known when rows are read.
    elif mode != "NOTSET" or "output_shape" in attributes:
        begins = None
    # By the ONNX texts the larger part of an odd padding is in front for SAME_LOWER, and of ConvTranspose for all but
    # SAME_UPPER.
    late = mode != "SAME_UPPER" if transposed else mode == "SAME_LOWER"
    extra = tuple(attributes.get_ints("output_padding", [0] * rank))
    return ConvWindows(axes.groups, weight, numbers("strides"), numbers("dilations"), begins, extra, late, transposed)


def _with_zeros(data: Array, strides: Shape) -> Array:
    """``stride - 1`` zeros between neighbours."""
    sizes = [(n - 1) * s + 1 for n, s in zip(data.shape[2:], strides, strict=True)]
    wider = np.zeros((*data.shape[:2], *sizes), data.dtype)
    places: tuple[slice, ...] = (slice(None),) * 2
    wider[(*places, *(slice(None, None, s) for s in strides))] = data
    return wider


def _framed(data: Array, axis: int, begin: int, length: int) -> Array:
    """``data`` with ``begin`` zeros before it along ``axis`` (fewer than none: cut off), and ``length`` in all."""
    if begin == 0 and data.shape[axis] == length:
        return data
    # The padding of a transposed convolution may exceed its reach, which cuts the input instead.
    if begin < 0:
        data = data[(slice(None),) * axis + (slice(-begin, None),)]
        begin = 0
    data = data[(slice(None),) * axis + (slice(0, max(length - begin, 0)),)]
    pads = [(0, 0)] * data.ndim
    pads[axis] = (begin, length - begin - data.shape[axis])
    return np.pad(data, pads)
