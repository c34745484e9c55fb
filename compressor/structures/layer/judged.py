"""What judges a layer's options: the covariance of what it reads, what its outputs are worth, and rows set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from compressor.allocation.judge import ExactLosses, Halves, Held, Probed, factors
from compressor.allocation.layer_samples import Floats32, Rows
from compressor.reconstruct.form import Matrix, as_float64
from compressor.reconstruct.ridge import factor_of_rows
from compressor.structures.layer.layers import CandidateLayer


@dataclass(frozen=True)
class Weighting:
    """What the parts of one matrix are worth.

    Attributes:
        inputs: float[rows, unknowns], F with FᵀF = C, the covariance of what the layer reads. Of few samples F is much
            smaller than C, and all that is asked of C takes less time by F.
        outputs: float64[out, out], G.
    """

    inputs: npt.NDArray[np.floating]
    outputs: Matrix

    @property
    def covariance(self) -> Matrix:
        """XᵀX of what the layer reads: float64[unknowns, unknowns]."""
        wide = as_float64(self.inputs)
        return np.asarray(wide.T @ wide)


@dataclass(frozen=True)
class JudgedMatrix:
    """One matrix of a layer: what factors are made by, and what judges them."""

    matrix: Matrix
    metrics: Weighting
    held: Held
    mean: Floats32


@dataclass(frozen=True)
class LayerEvidence:
    """What the losses of layers are measured with.

    Attributes:
        rows: of each layer, in the order of the layers; None where there are no samples.
        exact: takes losses exactly; None where there are no gradients.
        seed: of directions that are drawn.
        tell: called with a sentence for each layer.
    """

    rows: Sequence[Rows] | None
    exact: ExactLosses | None = None
    seed: int = 0
    tell: Callable[[str], None] = lambda _: None

    def parts(self, layer: CandidateLayer, place: int) -> list[JudgedMatrix]:
        """The matrices of a layer, which is number ``place``, with what judges them."""
        rows = None if self.rows is None else self.rows[place]
        return [_part(matrix, rows, k, self.seed) for k, matrix in enumerate(layer.view.matrix)]


class LayerCurve:
    """What one layer, number ``place`` of all, loses by its options.

    Attributes:
        probes: of a few options.
        factor: what losses by shape are multiplied by.
    """

    def __init__(self, layer: CandidateLayer, place: int) -> None:
        self.layer, self.place = layer, place
        self.probes: list[Probed] = []
        self.factor = 1.0


AnyLayerCurve = TypeVar("AnyLayerCurve", bound=LayerCurve)


def layer_curves(
    layers: Sequence[CandidateLayer],
    found: LayerEvidence,
    kind: str,
    make: Callable[[CandidateLayer, int, LayerEvidence], AnyLayerCurve],
) -> list[AnyLayerCurve]:
    """The curve of every layer, scaled by what is lost exactly at its probes.

    Args:
        layers: those that may change.
        found: what they are judged by; without samples an option loses the share of the weights' squares that it drops.
        kind: of the options, for messages.
        make: a curve of a layer, its place and the evidence.
    """
    curves = []
    for number, layer in enumerate(layers):
        found.tell(f"{kind}: layer {number + 1} of {len(layers)}")
        curves.append(make(layer, number, found))
    if found.exact is not None and curves:
        found.tell("layers: the outputs")
        for curve, factor in zip(curves, factors([curve.probes for curve in curves], found.exact), strict=True):
            # Probes are as large as the weights.
            curve.factor, curve.probes = factor, []
    return curves


def _part(matrix: Matrix, rows: Rows | None, index: int, seed: int) -> JudgedMatrix:
    """A matrix with the metrics that its rows give; plain ones without rows."""
    unknowns = matrix.shape[1]
    if rows is None:
        spread = float(np.square(matrix).sum()) or 1.0
        # Without samples every input counts the same, and the loss is the share of the squares of the weights.
        even = np.eye(unknowns, dtype=np.float32) * np.float32(unknowns**0.5)
        metrics = Weighting(np.eye(unknowns), np.eye(len(matrix)) / spread)
        return JudgedMatrix(
            matrix, metrics, Held(even, np.eye(len(matrix)) / spread**0.5), np.zeros(unknowns, np.float32)
        )
    halves = Halves.of(rows, index, matrix, seed)
    metric = halves.held.metric
    return JudgedMatrix(matrix, Weighting(factor_of_rows(halves.fit), metric.T @ metric), halves.held, halves.mean)
