"""What every convolution loses under every mask that a maker offers, its kept weights fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressor.allocation.judge import Floats32, Probe
from compressor.structures.change import ChangeLine, LayerChange, cheapest_first
from compressor.structures.judged import LayerEvidence, scale_curves
from compressor.structures.layers import CandidateLayer
from compressor.structures.masks.fit import masked_ridge
from compressor.structures.masks.maker import Maker
from compressor.structures.masks.masked import MaskOption

DAMPING, STEPS = 1e-2, 20
"""Of the fit by which a mask is judged; the one that is written is fitted to the end."""
PROBED = 3
"""Options of a layer that are also judged exactly."""


@dataclass(frozen=True)
class _Judged:
    option: MaskOption
    change: Floats32
    loss: float


class MaskCurve:
    """What one convolution loses.

    Args:
        layer: the convolution.
        place: which of the layers it is.
        found: what it is judged by.
        maker: makes its masks.
    """

    def __init__(self, layer: CandidateLayer, place: int, found: LayerEvidence, maker: Maker) -> None:
        self._layer, self._place, self._factor = layer, place, 1.0
        self._part = found.parts(layer, place)[0]
        part, shape = self._part, layer.view.layer.weight.read().shape
        # What a weight contributes to the variance of its output, inputs taken for independent.
        energy = np.square(part.matrix) * np.diag(part.metrics.inputs)
        self._judged: list[_Judged] = []
        for name, mask in maker.masks(energy.reshape(shape), found.seed):
            option = MaskOption.of(name, mask)
            kept = mask.reshape(part.matrix.shape)
            fitted = masked_ridge(part.matrix, part.metrics.inputs, kept, DAMPING, steps=STEPS)
            change = fitted - part.matrix
            self._judged.append(_Judged(option, change.astype(np.float32), part.held.loss(change)))

    def line(self) -> ChangeLine:
        """All masks that save something and are not worse in all than another.

        Of a structure that comes to smaller convolutions, masks that do not are left out: their zeros would stay.
        """
        size = self._layer.geometry
        found: list[tuple[float, float, LayerChange | None]] = [(size.macs, 0.0, None)]
        # Where nothing comes to smaller convolutions, as with N of M, all masks count.
        small = [one for one in self._judged if one.option.classes]
        for one in small or self._judged:
            if one.option.macs(size) < size.macs:
                found.append((one.option.macs(size), one.loss * self._factor, one.option))
        return cheapest_first(self._layer, found)

    def probes(self) -> list[tuple[float, list[Probe]]]:
        """Losses of a few masks by shape, from the densest to the sparsest, and the changes that go with them."""
        # Evenly over what there is, from the densest to the sparsest.
        places = np.unique(np.linspace(0, len(self._judged) - 1, min(PROBED, len(self._judged))).round().astype(int))
        chosen = [self._judged[k] for k in places] if self._judged else []
        return [(one.loss, [Probe(self._place, 0, one.change, self._part.mean)]) for one in chosen]

    def scale(self, ratios: Sequence[float]) -> None:
        """Takes up how much more is really lost than independence of positions and layers makes of it."""
        if ratios:
            self._factor = float(np.mean(ratios))


def mask_curves(layers: Sequence[CandidateLayer], found: LayerEvidence, maker: Maker) -> list[MaskCurve]:
    """The curve of every layer.

    Args:
        layers: convolutions of one group.
        found: what they are judged by; without samples a mask loses the share of the weights' squares that it drops.
        maker: makes the masks.
    """
    curves = []
    for number, layer in enumerate(layers):
        found.tell(f"masks: layer {number + 1} of {len(layers)}")
        curves.append(MaskCurve(layer, number, found, maker))
    scale_curves(curves, found)
    return curves
