"""What a layer costs whole and as two factors, from the axes of its weight and the sizes of what it reads and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import onnx_ir as ir

from compressor.operators.operator import Operator
from compressor.operators.table import operator_of
from compressor.operators.weight import weight_axes
from compressor.reconstruct.form import Shape
from compressor.reconstruct.windows import READS_BETWEEN

ThinnedSide = Literal["outputs", "inputs"]
"""Which side is thinned, where a layer becomes two factors."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of one linear layer.

    Attributes:
        groups: matrices that share nothing.
        inputs: channels that each reads.
        outs: channels that each gives.
        taps: places of the kernel.
        before: positions of what it reads, over all samples.
        after: positions of what it gives.
        slides: positions that the kernel is applied at.
    """

    groups: int
    inputs: int
    outs: int
    taps: int
    before: float
    after: float
    slides: float

    @staticmethod
    def of(node: ir.Node, held: int, shapes: Sequence[Shape | None]) -> Geometry | None:
        """Of a node whose weight is input ``held``; None where shapes do not tell.

        Args:
            node: the layer.
            held: the input that is the weight.
            shapes: of its inputs, in order, and of its output.
        """
        operator, weight = operator_of(node), shapes[held]
        data, made = shapes[1 - held], shapes[-1]
        if weight is None or data is None or made is None:
            return None
        axes = weight_axes(operator, node, held, weight)
        sizes = dict.fromkeys("goit", 1)
        for size, role in zip(axes.split, axes.roles, strict=True):
            sizes[role] *= size
        macs = operator.macs(node, shapes[:-1], shapes[-1:])
        return Geometry(
            sizes["g"],
            sizes["i"],
            sizes["o"],
            sizes["t"],
            prod(data) / (sizes["g"] * sizes["i"]),
            prod(made) / (sizes["g"] * sizes["o"]),
            # From what the operator says of its work, so that strides, paddings and transposition are in it.
            macs / prod(sizes.values()),
        )

    @property
    def macs(self) -> float:
        """Multiply-accumulates of the layer as it is."""
        return self.groups * self.inputs * self.outs * self.taps * self.slides

    @property
    def params(self) -> int:
        """Elements of its weight."""
        return self.groups * self.inputs * self.outs * self.taps

    def factored_macs(self, side: ThinnedSide, rank: int) -> float:
        """Multiply-accumulates of the two factors."""
        if side == "outputs":
            return self.groups * rank * (self.inputs * self.taps * self.slides + self.outs * self.after)
        return self.groups * rank * (self.inputs * self.before + self.outs * self.taps * self.slides)

    def factored_params(self, side: ThinnedSide, rank: int) -> int:
        """Elements of the two factors."""
        thick, thin = (self.inputs, self.outs) if side == "outputs" else (self.outs, self.inputs)
        return self.groups * rank * (thick * self.taps + thin)

    def widest(self, side: ThinnedSide) -> int:
        """The rank from which on factors are no approximation."""
        if side == "outputs":
            return min(self.outs, self.inputs * self.taps)
        return min(self.inputs, self.outs * self.taps)


def maskable(operator: Operator, node: ir.Node, held: int, weight: Shape) -> str | None:
    """Why no mask is laid over a layer; None where one can be: a convolution of one group, not transposed."""
    if operator.window is None:
        return "masks are for convolutions"
    # A deformable kernel reads where another input says.
    if operator.window.moved:
        return READS_BETWEEN
    axes = weight_axes(operator, node, held, weight)
    if axes.inputs_first:
        return "masks are not laid over transposed convolutions"
    return "it has groups already" if axes.groups > 1 else None


def spatial(operator: Operator, node: ir.Node, held: int, weight: Shape) -> str | None:
    """Why a layer has no basis kernels to leave out; None where it has: a maskable one of more than one tap."""
    reason = maskable(operator, node, held, weight)
    return reason or ("its kernel has one tap, and so no other basis" if prod(weight[2:]) == 1 else None)


def divisible(operator: Operator, node: ir.Node, held: int, weight: Shape) -> str | None:
    """Why a layer cannot be written as two layers; None where it can.

    A convolution, transposed or not, is one with fewer channels and a pointwise one. A product with a matrix is two.
    """
    if operator.window is not None:
        if operator.window.moved:
            return READS_BETWEEN
        axes = weight_axes(operator, node, held, weight)
        return "each of its groups has one filter (depthwise)" if axes.groups == axes.channels else None
    if operator.factors != (0, 1):
        return f"a product written as {node.op_type} is not taken apart"
    return None if len(weight) == 2 else "its weight is no single matrix"
