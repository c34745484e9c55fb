"""BatchNormalization (ONNX BatchNormalization-15) with running statistics, as a weight and a bias for each channel.

New numbers go into scale and bias: with statistics of the smaller net in their place, the function would be the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.nodes import number_of
from compressor.graph.sizes.known import initializer_of
from compressor.operators.table import operator_of
from compressor.reconstruct.form import Matrix, Pick, Shape, Unrepairable, as_float64


@dataclass(frozen=True)
class Scale:
    """A normalisation: ``y = scale / sqrt(var + epsilon) * (x - mean) + bias``.

    Attributes:
        mean: running mean, float64[channels].
        deviation: root of running variance plus epsilon, float64[channels].
    """

    mean: Matrix
    deviation: Matrix

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Channels, and one number for each."""
        return len(self.deviation), 1, 1

    def matrix(self, weight: Array) -> Matrix:
        """The scale as one matrix a channel: float64[channels, 1, 1]."""
        # The matrix acts on what is centred by the running mean, which :meth:`rows` takes off.
        return (as_float64(weight) / self.deviation)[:, None, None]

    def weight(self, matrix: Matrix) -> Matrix:
        """Turns a matrix back into the operator's weight: the inverse of :meth:`matrix`."""
        return matrix[:, 0, 0] * self.deviation

    def count(self, output: Shape) -> int:
        """Rows in an output of this shape: samples times positions."""
        # Axis 1 holds channels (ONNX BatchNormalization); all others are rows.
        return int(np.prod(output)) // max(output[1], 1)

    def rows(self, data: Array, output: Shape, pick: Pick) -> Matrix:  # noqa: ARG002 - as every form
        """[channels, rows, 1], the running mean taken off."""
        return self.targets(data, pick) - self.mean[:, None, None]

    def targets(self, output: Array, pick: Pick) -> Matrix:
        """Outputs as rows of a regression, a system for each channel: float64[channels, rows, 1]."""
        places = np.unravel_index(pick, (output.shape[0], *output.shape[2:]))
        return as_float64(np.moveaxis(output, 1, -1)[places]).T[:, :, None]

    def spread(self, bias: Matrix, rank: int) -> Matrix:
        """A number for each channel in a shape that broadcasts against the output: [1, channels, 1 ...]."""
        return bias.reshape(1, -1, *(1,) * (rank - 2))

    def gather(self, bias: Array, rank: int) -> Matrix:  # noqa: ARG002 - as every form
        """From the vector that the node holds."""
        return np.broadcast_to(as_float64(bias).ravel(), self.mean.shape)[:, None]


def normalisation(node: ir.Node, held: int, shapes: tuple[Shape, Shape, Shape]) -> Scale:  # noqa: ARG001 - as every form
    """The form of a node, whose running statistics are the inputs that its record names.

    Raises:
        Unrepairable: its statistics are computed, or are those of the batch.
    """
    running = operator_of(node).statistics
    given = [node.inputs[k] for k in running if k < len(node.inputs)]
    tensors = [initializer_of(v) for v in given if v is not None]
    if (
        len(tensors) < len(running)
        or any(t is None for t in tensors)
        # In training mode statistics are those of the batch, whatever the file holds.
        or node.attributes.get_int("training_mode", 0) == 1
    ):
        raise Unrepairable("its statistics are not constants of the file")
    mean, variance = (as_float64(t.numpy()) for t in tensors if t is not None)
    return Scale(mean, np.sqrt(variance + number_of(node, "epsilon")))
