"""What every convolution loses under every mask that a maker offers, its kept weights fitted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from compressor.allocation.judge import PROBED, Probe
from compressor.allocation.layer_samples import Floats32
from compressor.reconstruct.form import Matrix
from compressor.reconstruct.options import RIDGE
from compressor.structures.interspace.basis import KernelSpace
from compressor.structures.interspace.composed import CoefficientOption
from compressor.structures.layer.change import ChangeLine, LayerChange, cheapest_first
from compressor.structures.layer.judged import LayerCurve, LayerEvidence, layer_curves
from compressor.structures.layer.layers import CandidateLayer
from compressor.structures.masks.fit import masked_ridge
from compressor.structures.masks.maker import Maker, Ordering
from compressor.structures.masks.masked import MaskOption

FIT_STEPS = 20
"""Of the fit by which a mask is judged; the one that is written is fitted to the end."""


@dataclass(frozen=True)
class _Judged:
    option: MaskOption | CoefficientOption
    change: Floats32
    loss: float
    dropped: float


@dataclass(frozen=True)
class MaskOffer:
    """How the masks of a structure become options of a layer.

    Attributes:
        maker: makes them.
        start: the basis that they are laid over, of the weight as a matrix and its taps; None: over the weight itself.
        dtype: that coefficients in a basis are stored in.
        scope: what shares a budget out: the ``loss`` of outputs, the energy of all layers (``global``), or the same
            share of each (``local``).
        counts: the budget: ``macs``, or numbers that are stored.
        movable: layers that may have their channels in an order of their own.
    """

    maker: Maker
    start: Callable[[Matrix, int], KernelSpace] | None = None
    dtype: np.dtype[np.generic] = field(default_factory=lambda: np.dtype(np.float32))
    scope: str = "loss"
    counts: str = "macs"
    movable: Collection[str] = ()

    def space(self, layer: CandidateLayer) -> KernelSpace | None:
        """What masks of the layer are laid over; None: its weight."""
        return None if self.start is None else self.start(layer.view.matrix[0], layer.geometry.taps)

    def options(
        self, layer: CandidateLayer, energy: Matrix, space: KernelSpace | None, seed: int = 0
    ) -> Iterator[MaskOption | CoefficientOption]:
        """What the masks of a layer come to, for the energy of what they are laid over, float64[out, unknowns]."""
        energy = energy.reshape(layer.view.layer.weight.read().shape)
        masks = list(self.maker.masks(energy, seed))
        for name, mask in masks:
            if space is None:
                yield MaskOption.of(name, mask)
            else:
                yield CoefficientOption.of(name, mask, space, self.dtype)
        # A layer that the structure does not suit has no order for it either.
        if masks and isinstance(self.maker, Ordering) and layer.name in self.movable:
            order = self.maker.order(energy, seed)
            for name, mask in self.maker.masks(energy[:, order], seed):
                yield MaskOption.of(f"{name} of channels in another order", mask[:, np.argsort(order)], order)


class MaskCurve(LayerCurve):
    """What one convolution loses.

    Args:
        found: what it is judged by.
        offer: makes its masks, and options of them.
    """

    def __init__(self, layer: CandidateLayer, place: int, found: LayerEvidence, offer: MaskOffer) -> None:
        super().__init__(layer, place)
        self._scope, self._counts = offer.scope, offer.counts == "macs"
        part = found.parts(layer, place)[0]
        space = offer.space(layer)
        matrix, inputs = part.matrix, part.metrics.covariance
        if space is not None:
            matrix, inputs = space.coordinates(matrix), space.covariance(inputs)
        # What a weight contributes to the variance of its output, inputs taken for independent.
        energy = np.square(matrix) * np.diag(inputs)
        self._judged: list[_Judged] = []
        for option in offer.options(layer, energy, space, found.seed):
            kept = option.mask.reshape(matrix.shape)
            change = masked_ridge(matrix, inputs, kept, RIDGE, steps=FIT_STEPS) - matrix
            change = change if space is None else space.kernels(change)
            loss, dropped = part.held.loss(change), float(energy[~kept].sum())
            self._judged.append(_Judged(option, change.astype(np.float32), loss, dropped))
        # As many as of other structures, evenly from the densest to the sparsest.
        places = np.linspace(0, len(self._judged) - 1, len(PROBED)).round().astype(int) if self._judged else ()
        probed = [self._judged[k] for k in np.unique(places)]
        self.probes = [(one.loss, [Probe(place, 0, one.change, part.mean)]) for one in probed]

    def line(self) -> ChangeLine:
        """All masks that save something and are not worse in all than another.

        Of a structure that comes to smaller convolutions, masks that do not are left out: their zeros would stay.
        """
        size = self.layer.geometry
        found: list[tuple[float, float, LayerChange | None]] = [(size.macs, 0.0, None)]
        # Where nothing comes to smaller convolutions, as with N of M, all masks count.
        small = [one for one in self._judged if one.option.small]
        for one in small or self._judged:
            if one.option.macs(size) < size.macs:
                found.append((one.option.macs(size), self._worth(one), one.option))
        return cheapest_first(self.layer, found)

    def _worth(self, one: _Judged) -> float:
        """What is lost by a mask, in the unit in which the budget is shared out."""
        if self._scope == "global":
            return one.dropped
        # Its slope by what is kept is the same at the same share in every layer, so that one price cuts all alike.
        if self._scope == "local":
            size, option = self.layer.geometry, one.option
            whole, left = (size.macs, option.macs(size)) if self._counts else (size.params, option.params(size))
            return whole * (1 - left / whole) ** 2
        return one.loss * self.factor


def mask_curves(layers: Sequence[CandidateLayer], found: LayerEvidence, offer: MaskOffer) -> list[MaskCurve]:
    """The curve of every layer, convolutions of one group, of which ``offer`` makes the masks and options of them."""
    # Losses of outputs are asked for only where they decide.
    found = found if offer.scope == "loss" else replace(found, exact=None)
    return layer_curves(layers, found, "masks", partial(MaskCurve, offer=offer))
