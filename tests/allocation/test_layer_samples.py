"""What cannot be rows of samples is said, so that such layers are left out instead of crashing."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.allocation.layer_samples import Collector, Collectors
from compressor.allocation.views import views
from compressor.config import PruneSettings
from compressor.errors import ModelError
from compressor.pruning.cut.analysis import analyse
from compressor.reconstruct.form import Unrepairable
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
    # Less than one for each, none at all, and as many for each that are others than before.
    for rows, samples in ((2, 4), (0, 4), (9, 3)):
        with pytest.raises(Unrepairable, match="as many rows for each sample"):
            collector.add(values(rows), None, samples=samples)
    collector.add(values(4), None, samples=2)
    assert collector.rows().inputs.shape == (1, 5, 2, 8)


@pytest.mark.parametrize(("place", "error"), [("b", Unrepairable), ("y", ModelError)])
def test_rows_and_gradients_are_numbers(collector: Collector, place: str, error: type[Exception]) -> None:
    batch = values(4)
    batch[place][1, 1] = np.nan
    with pytest.raises(error, match="no finite number"):
        collector.add(batch, {"y": batch["y"]}, samples=4)


def test_layers_that_cannot_be_read_are_left_out_with_the_reason() -> None:
    text = NET.replace("(float[n,3] y)", "(float[n,3] y, float[1,3] z)").replace(
        "y = MatMul(b, v)", "y = MatMul(b, v) m = ReduceMean<axes=[0]>(b) z = MatMul(m, u)"
    )
    analysis = analyse(in_memory(model(text.replace("v>", "v, float[8,3] u>"), opset=17)), PruneSettings(ratio=0.5))
    found = Collectors(views(analysis.model, analysis.coupling), 0, 8)
    batch = values(4) | {"m": np.ones((1, 8), np.float32), "z": np.ones((1, 3), np.float32)}
    for _ in range(2):
        found.add(batch, None, samples=4)
    names = [str(node.name) for node in analysis.model.graph]
    assert found.rows().found.keys() == {names[2]}
    assert found.rows().unread == {names[4]: "it does not give as many rows for each sample"}
