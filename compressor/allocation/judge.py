"""What a change of weights does to the outputs, on samples that the change was not made from.

To first order, layers whose weights change by D move the projection v'y of the outputs of one sample by

    s = Σ_layers Σ_positions gᵀ D x        x: what a layer reads there, g: gradient of v'y by what it gives

and with random signs v the mean of s² over samples is that of the outputs, E‖∂y‖². Were positions and layers
independent, and x of g, that would be Σ tr(G D C Dᵀ) with G = E Σ_positions g gᵀ and C the covariance of x (K-FAC,
arXiv 1503.05671). That has little noise and its shape is right, but not its size: before an average over positions,
what positions lose adds up, and so does what layers lose that read one residual stream. So every group has a factor,
the mean of s² over what independence makes of it, taken at a few widths. The sum over positions is exact, as it is the
product of D with the gradient by the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.allocation.layer_samples import Floats32, Rows
from compressor.allocation.views import LinearView
from compressor.core.arrays import Array
from compressor.core.compare import TINY
from compressor.reconstruct.form import Matrix

PROBED = (0.25, 0.5, 0.75)
"""Shares of the way from all to nothing at which losses are also taken exactly."""
RANK = 256
"""Directions of the outputs that are heeded; of more, random mixtures."""


@dataclass(frozen=True)
class Held:
    """Rows of one matrix that judge.

    Attributes:
        inputs: float32[rows, unknowns], about their mean: biases are adjusted to the mean of what a layer reads.
        metric: float64[rank, out], F with FᵀF = G.
    """

    inputs: Floats32
    metric: Matrix

    def loss(self, change: npt.NDArray[np.floating]) -> float:
        """Second-order loss of a change D of a weight, tr(G D C Dᵀ); G of gradients, C of inputs (covariances)."""
        # In this order the large factor, of rows, is multiplied once; in float32, as losses need few digits.
        moved = self.inputs @ (self.metric @ change).T.astype(np.float32)
        return float(np.square(moved, dtype=np.float64).sum()) / max(len(moved), 1)


@dataclass(frozen=True)
class Probe:
    """A change of one matrix that is to be judged exactly.

    Attributes:
        view: which of the views, by its place.
        index: which of its matrices.
        change: float32[out, unknowns].
        mean: float32[unknowns], of what the layer reads.
    """

    view: int
    index: int
    change: Floats32
    mean: Floats32


Probed = tuple[float, list[Probe]]
"""A loss by shape, and the changes, made together, that go with it."""
ExactLosses = Callable[[Sequence[Sequence[Probe]]], npt.NDArray[np.float64]]
"""Judges sets of changes exactly: float64[sets]."""


def marks(count: int, shares: Sequence[float] = PROBED) -> set[int]:
    """Places from 1 to ``count`` at these shares of it."""
    return {max(1, round(share * count)) for share in shares}


def factors(curves: Sequence[Sequence[Probed]], exact: ExactLosses) -> list[float]:
    """Of each curve: how much more is lost than independence of positions and layers makes of it.

    Args:
        curves: the probes of each, of which the mean is taken; 1 where none tells.
        exact: takes their losses exactly.
    """
    true = iter(exact([changes for probes in curves for _, changes in probes]))
    pairs = [[(float(next(true)), loss) for loss, _ in probes] for probes in curves]
    # A change that independence calls free says nothing about the factor.
    ratios = [[lost / loss for lost, loss in of if loss > 0] for of in pairs]
    return [float(np.mean(of)) if of else 1.0 for of in ratios]


@dataclass(frozen=True)
class Halves:
    """Rows of one matrix: the first half of the samples is what weights are fitted by, the second judges.

    Attributes:
        fit: float32[rows, unknowns], about ``mean``.
        mean: float32[unknowns].
        held: rows of the other samples about their own mean, and what outputs are worth; they judge a fit.
    """

    fit: Floats32
    mean: Floats32
    held: Held

    @staticmethod
    def of(rows: Rows, index: int, matrix: Matrix, seed: int) -> Halves:
        """The halves of the rows that one matrix of a layer reads.

        Args:
            rows: what the layer reads in each sample, and the gradients of its outputs where they were taken.
            index: which of the matrices of the layer.
            matrix: its weights, float64[out, unknowns].
            seed: of the random mixtures that stand for gradients where outputs are many.
        """
        inputs = rows.inputs[index]
        # By samples and not by rows: rows of one sample resemble each other, and would flatter the fit.
        half = max(1, len(inputs) // 2)
        fit = inputs[:half].reshape(-1, matrix.shape[1])
        # A single sample has to do for both.
        rest = inputs[half if len(inputs) > 1 else 0 :].reshape(-1, matrix.shape[1])
        # A sum of many float32 numbers loses digits.
        mean = fit.mean(axis=0, dtype=np.float64).astype(np.float32)
        fit = fit - mean
        if rows.gradients is None:
            # Without gradients every layer counts by the share of its output's variance that changes.
            spread = float(np.square(fit @ matrix.T).sum()) / len(fit)
            metric = np.eye(len(matrix)) / max(spread, TINY) ** 0.5
        else:
            metric = _metric(rows.gradients[index].reshape(-1, len(matrix)), rows.positions / rows.drawn, seed)
        return Halves(fit, mean, Held(rest - rest.mean(axis=0), metric))


def _metric(slopes: Floats32, weight: float, seed: int) -> Matrix:
    """F with FᵀF = E Σ_positions g gᵀ, of all directions or of RANK random mixtures of rows.

    Args:
        slopes: float32[samples * drawn, out].
        weight: positions that each row stands for.
        seed: of the mixtures.
    """
    weight = weight / max(len(slopes), 1)
    if slopes.shape[1] <= RANK:
        whole = np.asarray(slopes.T @ slopes, np.float64) * weight
        values, vectors = np.linalg.eigh(whole)
        # Rounding leaves tiny or negative eigenvalues, whose roots are noise or NaN.
        kept = values > values[-1] * 1e-9
        return np.asarray((vectors[:, kept] * np.sqrt(values[kept])).T)
    # The rows themselves are a factor already, with no more rows than a mixture would have.
    if len(slopes) <= RANK:
        return np.asarray(slopes * weight**0.5, np.float64)
    # Random signs keep the expectation of the product (Johnson and Lindenstrauss), and bound its rank.
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (RANK, len(slopes))).astype(np.float32)
    return np.asarray((signs @ slopes) * (weight / RANK) ** 0.5, np.float64)


class Exact:
    """Sums up s² of sets of changes, sample by sample.

    Args:
        views: the layers.
        sets: changes that are made together.
    """

    def __init__(self, views: Sequence[LinearView], sets: Sequence[Sequence[Probe]]) -> None:
        self._views, self._sets = views, sets
        self._sums = np.zeros(len(sets))
        self._samples = 0
        self._scales: dict[LinearView, Matrix | None] = {}

    def add(self, gradients: Mapping[str, Array], samples: int) -> None:
        """Gradients by what layers give and by their weights, of one sample, or of several with signs of their own."""
        slopes = [self._slopes(view, gradients) for view in self._views]
        for number, probes in enumerate(self._sets):
            moved = 0.0
            for probe in probes:
                by_weight, by_bias = slopes[probe.view]
                moved += float(np.vdot(probe.change, by_weight[probe.index]))
                # Recovery also moves the bias so that the mean stays; without this term that mean would count as a
                # loss.
                moved -= float(by_bias[probe.index] @ (probe.change @ probe.mean))
            # Squared only after all layers are summed: what they lose adds up, or cancels, before it is squared.
            self._sums[number] += moved**2
        self._samples += samples

    def _slopes(self, view: LinearView, gradients: Mapping[str, Array]) -> tuple[Floats32, Floats32]:
        """By the matrices, float32[groups, out, unknowns], and by what is added to all rows, float32[groups, out]."""
        weight = view.layer.weight
        by_weight = gradients[str(weight.differentiable.name)].astype(np.float32, copy=False)
        # The gradient is by the initializer; the form wants it in the order in which the operator reads it.
        if weight.place is not None:
            by_weight = by_weight.ravel()[weight.place]
        output = gradients[view.layer.y]
        # The output may be of another batch size than the bound shapes, and rows are counted by it.
        form = view.layer.form((view.shapes[0], by_weight.shape, output.shape))
        rows = form.targets(output, np.arange(form.count(output.shape)))
        matrix, scale = view.form.matrix(by_weight), self._scale(view, by_weight.shape)
        matrix = matrix if scale is None else matrix / scale
        return matrix.astype(np.float32), rows.sum(axis=1).astype(np.float32)

    def _scale(self, view: LinearView, shape: tuple[int, ...]) -> Matrix | None:
        """The square of a factor of the product, which counts twice in a gradient; None where there is none."""
        # The same for every sample, and as large as the weight.
        if view not in self._scales:
            found = np.square(view.form.matrix(np.ones(shape, np.float32)))
            self._scales[view] = None if (found == 1).all() else found
        return self._scales[view]

    def losses(self) -> npt.NDArray[np.float64]:
        """float64[sets]: the mean of s² over samples."""
        return self._sums / max(self._samples, 1)
