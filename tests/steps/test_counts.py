"""How large a model is, and what it is counted at."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.config import PruneSettings
from compressor.steps.counts import stats_in_memory
from tests.models import between, in_memory, model


def test_a_model_in_memory_is_counted_as_it_would_be_written() -> None:
    held = in_memory(between("b = Relu(a)"))
    found = stats_in_memory(held, PruneSettings())
    weights = [v.const_value for v in held.graph.initializers.values() if v.const_value is not None]
    assert found.params == sum(int(np.prod(t.shape.numpy())) for t in weights if t.dtype.is_floating_point())
    assert found.bytes > 4 * found.params
    assert found.path is None
    assert stats_in_memory(held, PruneSettings(), size=7).bytes == 7


@pytest.mark.parametrize(
    ("sizes", "counted"), [("n,3,h,9", {"x": [1, 3, 8, 9]}), ("n,3,8,9", {}), ("4,3,h,9", {"x": [4, 3, 8, 9]})]
)
def test_sizes_at_which_macs_are_counted_are_told_where_they_are_open(sizes: str, counted: dict[str, object]) -> None:
    text = f"(float[{sizes}] x) => (float y) <float[4,3,3,3] w> {{ y = Conv(x, w) }}"
    settings = PruneSettings(dims={"h": 8}) if "h" in sizes else PruneSettings()
    found = stats_in_memory(in_memory(model(text)), settings)
    assert found.macs_at == counted
    assert found.macs == (4 if sizes[0] == "4" else 1) * 4 * 3 * 9 * 6 * 7
