"""A layer as two thinner ones, as an option of a budget: what it costs, and how its factors are fitted and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from compressor.reconstruct.fit import Affine
from compressor.reconstruct.form import Matrix, OperandForm, Pick
from compressor.reconstruct.layers import LayerPair
from compressor.reconstruct.lstsq import LeastSquares
from compressor.reconstruct.options import ReconstructOptions
from compressor.structures.layer.change import LayerChange, Written
from compressor.structures.layer.geometry import Geometry, ThinnedSide
from compressor.structures.layer.judged import Weighting
from compressor.structures.lowrank.factors import Factors, factorised, rounded
from compressor.structures.lowrank.split import write_factors


@dataclass(frozen=True, eq=False)
class Thinned(LayerChange):
    """A layer as two.

    Attributes:
        side: which side is thinned.
        rank: of each group.
        widest: the rank from which on factors are no approximation.
        metrics: of each group, what factors are made by where there are no samples.
    """

    side: ThinnedSide
    rank: int
    widest: int
    metrics: tuple[Weighting, ...] = field(repr=False)

    @property
    def small(self) -> bool:
        """Two factors always compute less, or they would be no option."""
        return True

    @property
    def words(self) -> str:
        """What reports call it."""
        return f"rank {self.rank} of {self.widest}, {self.side} thinned"

    def macs(self, size: Geometry) -> float:
        """Multiply-accumulates of the two factors."""
        return size.factored_macs(self.side, self.rank)

    def params(self, size: Geometry) -> float:
        """Elements of the two factors."""
        return size.factored_params(self.side, self.rank)

    def begin(self, size: Geometry, outs: Pick, *, regress: bool) -> FactorWork:
        """Starts on a layer of this size, which still has these of its outputs."""
        if len(outs) == len(self.metrics):
            pairs = zip(self.metrics, outs, strict=True)
            worth = np.stack([metrics.outputs[np.ix_(kept, kept)] for metrics, kept in pairs])
        else:  # whole groups are gone, and which is not told
            worth = np.tile(np.eye(outs.shape[1]), (len(outs), 1, 1))
        return FactorWork(self, size, worth, regress=regress)


class FactorWork:
    """The factors of one layer.

    Args:
        option: side and rank.
        size: of the layer.
        outputs: float64[groups, out, out], what its outputs are worth.
        regress: least squares first, then the factors of the weights that it finds; otherwise of those that are there.
    """

    def __init__(self, option: Thinned, size: Geometry, outputs: Matrix, *, regress: bool) -> None:
        self.regress = regress
        self._option, self._size, self._outputs = option, size, outputs
        self._factors: Factors | None = None

    @property
    def ready(self) -> bool:
        """Were factors taken, so that it can be written?"""
        return self._factors is not None

    def fit(self, matrix: Matrix, layers: int, options: ReconstructOptions) -> FactoredFit:  # noqa: ARG002 - as every fit is made
        """What proposes products of factors."""
        return FactoredFit(self, matrix, options)

    def without_samples(self, matrix: Matrix) -> None:
        """Factors of the weights that are there, by what was measured when the rank was chosen."""
        known = [metrics.inputs for metrics in self._option.metrics]
        # Channels that have gone since then leave no covariance of the right size.
        fits = all(factor.shape[1] == matrix.shape[2] for factor in known)
        self.take(matrix, known if fits else [np.eye(matrix.shape[2])] * len(matrix))

    def take(self, matrix: Matrix, inputs: Sequence[npt.NDArray[np.floating]]) -> Matrix:
        """Factors of ``matrix`` for inputs of covariances FᵀF, with one F for each group; returns their product."""
        metrics = [Weighting(f, g) for f, g in zip(inputs, self._outputs, strict=True)]
        option = self._option
        self._factors = factorised(matrix, metrics, self._size.inputs, option.side, option.rank)
        return self._factors.product()

    def _rounded(self, dtype: np.dtype[np.generic]) -> Factors:
        assert self._factors is not None
        return rounded(self._factors, dtype)

    def product(self, dtype: np.dtype[np.generic]) -> Matrix:
        """The product of the factors in the numbers that ``dtype`` holds."""
        return self._rounded(dtype).product()

    def write(self, layer: LayerPair, form: OperandForm, *, lower: bool) -> Written:
        """Two layers in the place of one."""
        if not lower:
            return Written()
        return Written(write_factors(layer, form, self._rounded(layer.weight.read().dtype)), lowered=True)


class FactoredFit(LeastSquares):
    """Proposes products of factors, with the bias that restores the mean of each output."""

    binding = True

    def __init__(self, work: FactorWork, matrix: Matrix, options: ReconstructOptions) -> None:
        super().__init__(matrix, 1, options)
        self._work = work

    def proposals(self) -> Iterator[Affine]:
        """One proposal: factors of the regression with the first damping that is solved, or of the weights as is."""
        means, inputs = self.means, self.factors()
        # Without regression the factors are of the weights that are there, with the covariance of what they read now.
        found = next(super().proposals(), None) if self._work.regress else None
        product = self._work.take(self._matrix if found is None else found.matrix, inputs)
        yield Affine.with_means(product, means)
