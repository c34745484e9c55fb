"""What cannot be rows of samples is said, so that allocation falls back instead of crashing."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.allocation.layer_samples import Collector
from compressor.allocation.views import views
from compressor.config import PruneSettings
from compressor.errors import ModelError
from compressor.pruning.cut.analysis import analyse
from tests.models import in_memory, model

NET = "(float[n,4] x) => (float[n,3] y) <float[4,8] w, float[8,3] v> { a = MatMul(x, w) b = Relu(a) y = MatMul(b, v) }"


@pytest.fixture
def collector() -> Collector:
    analysis = analyse(in_memory(model(NET)), PruneSettings(ratio=0.5))
    [view] = views(analysis.model, analysis.coupling)
    return Collector(view, seed=0)


def values(rows: int) -> dict[str, np.ndarray]:
    return {"b": np.ones((rows, 8), np.float32), "y": np.ones((rows, 3), np.float32)}


def test_as_many_rows_for_each_sample(collector: Collector) -> None:
    collector.add(values(6), None, samples=3)
    assert collector.rows().inputs.shape == (1, 3, 2, 8)
    with pytest.raises(ModelError, match="gives 2 rows for 4 samples"):
        collector.add(values(2), None, samples=4)


@pytest.mark.parametrize("place", ["b", "y"])
def test_rows_and_gradients_are_numbers(collector: Collector, place: str) -> None:
    batch = values(4)
    batch[place][1, 1] = np.nan
    with pytest.raises(ModelError, match="no finite number"):
        collector.add(batch, {"y": batch["y"]}, samples=4)
