"""What a layer may become, whatever the structure: what it costs, what it loses, how it is fitted and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from compressor.core.arrays import Floats
from compressor.reconstruct.fit import Fit
from compressor.reconstruct.form import Matrix, OperandForm, Pick
from compressor.reconstruct.layers import LayerPair
from compressor.reconstruct.options import ReconstructOptions
from compressor.structures.layer.geometry import Geometry
from compressor.structures.layer.layers import CandidateLayer


@dataclass(frozen=True)
class Written:
    """What was written for a layer.

    Attributes:
        weights: names of the new weights; none where the layer stays as it is, with zeros in its weight.
        lowered: less is computed; otherwise zeros stay.
        zeros: names of new weights in which the zeros of a mask stay.
        bases: name of coefficients -> name of the basis that they are multiplied by.
        params: numbers that are stored; None: what the option or the layer says.
    """

    weights: tuple[str, ...] = ()
    lowered: bool = False
    zeros: tuple[str, ...] = ()
    bases: Mapping[str, str] = field(default_factory=dict)
    params: float | None = None


class Work(Protocol):
    """One layer on its way: fitted in the order of the graph, then written."""

    @property
    def ready(self) -> bool:
        """Were weights taken, so that it can be written?"""
        ...

    def fit(self, matrix: Matrix, layers: int, options: ReconstructOptions) -> Fit:
        """What proposes its weights during the pass over both nets; one of them is taken."""
        ...

    def without_samples(self, matrix: Matrix) -> None:
        """Takes the weights that are there, float64[groups, out, unknowns], as they are."""
        ...

    def product(self, dtype: np.dtype[np.generic]) -> Matrix:
        """float64[groups, out, unknowns]: the matrix that what is written comes to, in the numbers of ``dtype``."""
        ...

    def write(self, layer: LayerPair, form: OperandForm, *, lower: bool) -> Written:
        """Writes it into the graph of ``layer``, in place; so that less is computed where it can be and is to be."""
        ...


class LayerChange(Protocol):
    """What a layer may become."""

    @property
    def words(self) -> str:
        """What it is, for reports: ``rank 12, inputs thinned``."""
        ...

    @property
    def small(self) -> bool:
        """Can it be written so that less is computed? Otherwise zeros stay."""
        ...

    def macs(self, size: Geometry) -> float:
        """Multiply-accumulates of what is written for a layer of this size."""
        ...

    def params(self, size: Geometry) -> float:
        """Elements of its weights."""
        ...

    def bytes(self, size: Geometry, each: float) -> float:
        """What its weights take in the file, where an element of the layer takes ``each``; by default as much each."""
        return self.params(size) * each

    def begin(self, size: Geometry, outs: Pick, *, regress: bool) -> Work:
        """Starts on a layer.

        Args:
            size: of the layer as it is when it is changed, maybe of fewer channels than when it was judged.
            outs: int64[groups, out], which of the outputs of its group, as it was judged, it still has.
            regress: weights are fitted by least squares; otherwise those that are there are taken.
        """
        ...


@dataclass(frozen=True, eq=False)
class ChangeLine:
    """What may become of one layer.

    Attributes:
        layer: the layer.
        options: None, which leaves it as it is, and then by falling cost.
        losses: float64[options], what outputs lose; the first is 0, and they never fall.
    """

    layer: CandidateLayer
    options: tuple[LayerChange | None, ...]
    losses: Floats


def cheapest_first(layer: CandidateLayer, found: Sequence[tuple[float, float, LayerChange | None]]) -> ChangeLine:
    """The line of a layer, of options with their cost and loss: those that cost and lose more than another are dropped.

    One of them is the layer as it is, None, which loses nothing.
    """
    kept, least = list[tuple[float, LayerChange | None]](), float("inf")
    # By cost and then loss, so that of equal costs the better one comes first.
    for _, loss, option in sorted(found, key=lambda item: (item[0], item[1])):
        if loss < least:
            kept.append((loss, option))
            least = loss
    kept.reverse()
    return ChangeLine(layer, tuple(option for _, option in kept), np.asarray([loss for loss, _ in kept]))
