"""What each structure could save in each layer, by what it offers for the weights that are there, without any run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from compressor.structures.layer.change import LayerChange
from compressor.structures.layer.geometry import Geometry
from compressor.structures.layer.layers import CandidateLayer
from compressor.structures.lowrank.curves import Ranks, thinned_options
from compressor.structures.mask_curves import MaskOffer

Options = Callable[[CandidateLayer], Iterable[LayerChange]]
"""What a structure offers for a layer."""


@dataclass(frozen=True)
class Saving:
    """What one layer could become.

    Attributes:
        layer: the layer.
        option: what it could become.
        bytes_before: what its weight takes in the file.
        bytes_after: what the weights of the option take.
    """

    layer: CandidateLayer
    option: LayerChange
    bytes_before: float
    bytes_after: float

    @property
    def size(self) -> Geometry:
        """Of the layer as it is."""
        return self.layer.geometry


def savings(layers: Iterable[CandidateLayer], options: Options, share: float) -> Iterator[Saving]:
    """Of each layer the option that leaves most, within this share of its multiply-accumulates.

    Layers for which the structure offers nothing that leaves so little are left out.
    """
    for layer in layers:
        size = layer.geometry
        fitting = [option for option in options(layer) if option.macs(size) <= share * size.macs]
        if fitting:
            option = max(fitting, key=lambda option: option.macs(size))
            each = layer.view.layer.weight.read().itemsize
            yield Saving(layer, option, size.params * each, option.bytes(size, each))


def options_by_masks(offer: MaskOffer) -> Options:
    """The masks of a maker, by the squares of the weights."""

    def options(layer: CandidateLayer) -> Iterable[LayerChange]:
        space, matrix = offer.space(layer), layer.view.matrix[0]
        energy = np.square(matrix if space is None else space.coordinates(matrix))
        return offer.options(layer, energy, space)

    return options


def options_by_rank(ranks: Ranks) -> Options:
    """Two thinner layers of the ranks that are allowed."""
    return lambda layer: thinned_options(layer.geometry, ranks)
