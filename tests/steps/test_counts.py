"""How large a model is, and what it is counted at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import compressor
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.steps.counts import stats_in_memory
from tests.graph.disk.joined_files import written
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


def test_costs_are_counted_at_the_sizes_of_the_users_samples() -> None:
    text = """(float[n,3,h,w] x) => (float[n,2,p,q] y) <float[8,3,3,3] u, float[2,8,1,1] v> {
        a = Conv<pads=[1,1,1,1]>(x, u)  y = Conv(a, v) }"""
    given = {"x": np.random.default_rng(0).standard_normal((80, 3, 20, 12)).astype(np.float32)}
    report = compressor.prune(in_memory(model(text)), target_macs=0.5, round_to=1, data=given, recover="none").report
    assert report.output is not None
    assert report.input.macs_at == report.output.macs_at == {"x": [1, 3, 20, 12]}
    assert report.input.macs == 20 * 12 * (8 * 3 * 9 + 2 * 8)
    assert report.output.macs * 2 == report.input.macs


def test_both_models_are_counted_at_the_same_sizes(tmp_path: Path) -> None:
    """At the sizes that come first the values of the original are too large, those of the smaller model are not."""
    text = """(float[n,3,h,w] x) => (float[n,2,p,q] y) <float[400,3,1,1] u, float[2,400,1,1] v> {
        a = Conv(x, u)  y = Conv(a, v) }"""
    settings = PruneSettings(ratio=0.5, recover="none")
    in_file = prune_file(written(tmp_path / "m.onnx", text), tmp_path / "o.onnx", settings).report
    direct = compressor.prune(in_memory(model(text)), ratio=0.5, recover="none").report
    for report in (in_file, direct):
        assert report.output is not None
        assert report.output.macs_at == report.input.macs_at
        assert report.output.macs * 2 == report.input.macs
