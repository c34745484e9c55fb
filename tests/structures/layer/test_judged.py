"""Where losses of a layer's options are also taken exactly, and that this scales them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pytest

from compressor.allocation.judge import Probe
from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import analyse
from compressor.structures.layer.judged import LayerEvidence, layer_curves
from compressor.structures.layer.layers import candidate_layers
from compressor.structures.lowrank.curves import RankCurve
from compressor.structures.mask_curves import MaskOffer, mask_curves
from compressor.structures.masks.maker import WeightEnergy
from compressor.structures.masks.pieces import WeightMask
from tests.models import in_memory, model


class Dropping:
    """Masks that drop one weight more each."""

    def masks(self, energy: WeightEnergy, seed: int) -> Iterator[tuple[str, WeightMask]]:
        return (("", np.arange(energy.size).reshape(energy.shape) >= count) for count in (1, 2, 3, 4, 5))


RANKS = partial(layer_curves, kind="ranks", make=RankCurve), partial(np.linalg.matrix_rank, tol=1e-3), [4, 8, 12]
MASKS = partial(mask_curves, offer=MaskOffer(Dropping())), lambda one: (abs(one) < 1e-6).sum(), [1, 3, 5]


@pytest.mark.parametrize(("curves", "count", "places"), [RANKS, MASKS], ids=["ranks", "masks"])
def test_losses_are_scaled_by_a_few_exact_ones(curves: Callable, count: Callable, places: list[int]) -> None:
    proto = model("(float[n,16,4,4] x) => (float[n,16,4,4] y) <float[16,16,1,1] w> { y = Conv(x, w) }")
    analysis = analyse(in_memory(proto), PruneSettings())
    layers, _ = candidate_layers(analysis.model, analysis.coupling)
    [plain] = curves(layers, LayerEvidence(None))

    def exact(sets: Sequence[Sequence[Probe]]) -> np.ndarray:
        assert [count(layers[0].view.matrix[0] + probe.change) for [probe] in sets] == places
        return 3.0 * np.asarray([loss for loss, _ in plain.probes])

    [scaled] = curves(layers, LayerEvidence(None, exact))
    assert (plain.factor, scaled.factor) == (1.0, pytest.approx(3.0))
    assert not scaled.probes, "as large as the weights"
