"""A masked convolution as an option of a budget: what it costs, how what it keeps is fitted, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from compressor.graph.ir.edit import constant_array
from compressor.graph.ir.nodes import optional_input
from compressor.reconstruct.form import Matrix, OperandForm, Pick
from compressor.reconstruct.layers import LayerPair
from compressor.reconstruct.options import ReconstructOptions
from compressor.structures.layer.change import LayerChange, Written
from compressor.structures.layer.geometry import Geometry
from compressor.structures.masks.fit import MaskedEntries, MaskedFit
from compressor.structures.masks.lower import Lowering, Windowing
from compressor.structures.masks.maker import ChannelOrder
from compressor.structures.masks.pieces import (
    FilterClass,
    WeightMask,
    alike,
    classes_of,
    consecutive,
    one_grouped,
    weights_left,
)

MOST_CLASSES, FEWEST_FILTERS = 16, 4
"""Classes that a layer is written as at most, and filters that a class has at least, in the mean: beyond that, moving
channels costs more than zeros do."""


@dataclass(frozen=True, eq=False)
class MaskOption(LayerChange):
    """A convolution of which a part is kept.

    Attributes:
        name: what it is.
        mask: what is kept.
        classes: what the mask comes to as smaller convolutions; empty where it is left as zeros.
        order: of the channels, in which the zeros have their pattern; None where they have none.
    """

    name: str
    mask: WeightMask = field(repr=False)
    classes: tuple[FilterClass, ...] = field(repr=False)
    order: ChannelOrder | None = field(default=None, repr=False)

    @staticmethod
    def of(name: str, mask: WeightMask, order: ChannelOrder | None = None) -> MaskOption:
        """A mask with its classes, where they are few and save something."""
        few = len(alike(mask)) <= min(MOST_CLASSES, len(mask) // FEWEST_FILTERS)
        # Zeros that wait for a runtime that knows their pattern are not for smaller convolutions.
        classes = classes_of(mask) if few and order is None else []
        # Boxes may fill up what a mask leaves out, until nothing is saved.
        useful = few and weights_left(classes) < mask.size
        return MaskOption(name, mask, tuple(classes) if useful else (), order)

    @property
    def moving(self) -> int:
        """Channels that are moved in front of what the layer becomes, and behind it."""
        channels = range(self.mask.shape[1])
        if not self.classes:
            return 0 if self.order is None or list(self.order) == list(channels) else len(channels)
        filters = [k for one in self.classes for k in one.filters]
        pieces = [piece.channels for one in self.classes for piece in one.pieces]
        if one_grouped(self.classes):
            pieces = [tuple(c for piece in pieces for c in piece)]
        moved = sum(len(piece) * (1 + (not consecutive(piece))) for piece in pieces if piece != tuple(channels))
        return moved + (2 * len(filters) if filters != sorted(filters) else 0)

    def wish(self, axis: int) -> ChannelOrder | None:
        """The order of its filters (axis 0) or channels (axis 1) in which little is moved; None: any will do."""
        if not self.classes:
            return self.order if axis else None
        if axis == 0:
            return np.asarray([k for one in self.classes for k in one.filters], np.int64)
        reads = np.zeros((self.mask.shape[1], sum(len(one.pieces) for one in self.classes)), np.bool_)
        for number, piece in enumerate(piece for one in self.classes for piece in one.pieces):
            reads[list(piece.channels), number] = True
        # Channels that the same pieces read lie together, those of the first piece first.
        return np.lexsort(~reads.T[::-1]).astype(np.int64)

    def reordered(self, axis: int, order: ChannelOrder) -> MaskOption:
        """The same with its filters or channels in this order."""
        wanted = self.order
        if axis == 1 and wanted is not None:
            wanted = np.argsort(order)[wanted]
        return MaskOption.of(self.name, np.take(self.mask, order, axis=axis), wanted)

    @property
    def small(self) -> bool:
        """Does it come to smaller convolutions?"""
        return bool(self.classes)

    @property
    def words(self) -> str:
        """What reports call it."""
        return f"{self.name}, {self.mask.mean():.2f} of the weights kept"

    def macs(self, size: Geometry) -> float:
        """Multiply-accumulates of the smaller convolutions; where zeros stay, those of what is no zero."""
        left = weights_left(list(self.classes)) if self.classes else int(self.mask.sum())
        return left * size.slides

    def params(self, size: Geometry) -> float:
        """Elements of its weights; zeros count where they stay."""
        return weights_left(list(self.classes)) if self.classes else size.params

    def begin(self, size: Geometry, outs: Pick, *, regress: bool) -> MaskWork:  # noqa: ARG002 - no channel goes
        """Starts on the layer."""
        return MaskWork(self, regress=regress)


class MaskWork:
    """The kept weights of one convolution.

    Args:
        option: the mask.
        regress: they are fitted; otherwise those that are there are taken.
    """

    def __init__(self, option: MaskOption, *, regress: bool) -> None:
        self._option, self._weights = option, MaskedEntries(option.mask, regress=regress)

    @property
    def ready(self) -> bool:
        """Were weights taken, so that it can be written?"""
        return self._weights.found is not None

    def fit(self, matrix: Matrix, layers: int, options: ReconstructOptions) -> MaskedFit:  # noqa: ARG002 - as every fit is made
        """What proposes weights under the mask."""
        return self._weights.fit(matrix, options)

    def without_samples(self, matrix: Matrix) -> None:
        """The weights that are there."""
        self._weights.take(matrix)

    def product(self, dtype: np.dtype[np.generic]) -> Matrix:
        """The masked matrix in the numbers of ``dtype``."""
        found = self._weights.found
        assert found is not None
        # Through the type of the file, as the reference and what is written have to agree.
        return found.astype(dtype).astype(np.float64)

    def write(self, layer: LayerPair, form: OperandForm, *, lower: bool) -> Written:  # noqa: ARG002 - a kernel as it is
        """Smaller convolutions, where the mask comes to some; else nothing, as the zeros are in the weight already."""
        weight = layer.weight.read()
        windowing = Windowing.of(layer.node, tuple(weight.shape[2:]))
        # Where padding follows from the input, smaller kernels cannot be given theirs.
        if not lower or not self._option.classes or windowing is None:
            return Written()
        bias = optional_input(layer.node, 2)
        lowering = Lowering(layer, windowing)
        # What is kept is in the weight already, maybe in another order than it was fitted in.
        lowering.write(weight, None if bias is None else constant_array(bias), self._option.classes)
        return Written(tuple(lowering.weights), lowered=True)
