"""What judges a layer's options: the covariance of what it reads, what its outputs are worth, and rows set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from compressor.allocation.judge import Floats32, Held, Probe
from compressor.allocation.measure import ExactLosses, metric_of
from compressor.allocation.rows import Rows
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
        """C, float64[unknowns, unknowns]."""
        wide = as_float64(self.inputs)
        return np.asarray(wide.T @ wide)

    @staticmethod
    def none(matrix: Matrix) -> Weighting:
        """Nothing is known: every input and output counts the same; ``matrix`` is float64[out, unknowns]."""
        return Weighting(np.eye(matrix.shape[1]), np.eye(matrix.shape[0]))


@dataclass(frozen=True)
class JudgedMatrix:
    """One matrix of a layer: what factors are made by, and what judges them."""

    matrix: Matrix
    metrics: Weighting
    held: Held
    mean: Floats32


@dataclass(frozen=True)
class LayerEvidence:
    """What samples told.

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


class OptionCurve(Protocol):
    """What one layer loses by its options, in a unit of which the size is not known yet."""

    def probes(self) -> list[tuple[float, list[Probe]]]:
        """Losses of a few options by shape, and the changes that go with them."""
        ...

    def scale(self, ratios: Sequence[float]) -> None:
        """Takes up how much more is really lost than independence of positions and layers makes of it."""
        ...


def scale_curves(curves: Sequence[OptionCurve], found: LayerEvidence) -> None:
    """Takes losses exactly at a few options of every curve, and scales it by that."""
    if found.exact is None or not curves:
        return
    found.tell("layers: the outputs")
    probes = [(curve, *probe) for curve in curves for probe in curve.probes()]
    exact = found.exact([changes for _, _, changes in probes])
    for curve in curves:
        pairs = zip(probes, exact, strict=True)
        curve.scale([float(true) / loss for (of, loss, _), true in pairs if of is curve and loss > 0])


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
    inputs = rows.inputs[index]
    half = max(1, len(inputs) // 2)
    fit = inputs[:half].reshape(-1, unknowns)
    # With one sample alone it has to do for both.
    rest = inputs[half if len(inputs) > 1 else 0 :].reshape(-1, unknowns)
    mean = fit.mean(axis=0, dtype=np.float64).astype(np.float32)
    factor = factor_of_rows(fit - mean)
    # Without gradients every output counts the same, by the size of all of them.
    if rows.gradients is None:
        spread = float(np.square(factor @ matrix.T).sum())
        metric = np.eye(len(matrix)) / max(spread, 1e-300) ** 0.5
    else:
        metric = metric_of(rows.gradients[index].reshape(-1, len(matrix)), rows.positions / rows.drawn, seed)
    return JudgedMatrix(matrix, Weighting(factor, metric.T @ metric), Held(rest - rest.mean(axis=0), metric), mean)
