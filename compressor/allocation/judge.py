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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.allocation.views import LinearView
from compressor.graph.evaluate import Array
from compressor.reconstruct.form import Matrix

Floats32 = npt.NDArray[np.float32]


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
        by_weight = gradients[str(weight.initializer.name)].astype(np.float32, copy=False)
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
