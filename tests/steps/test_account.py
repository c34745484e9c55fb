"""What a run has to say: groups over several steps, and reasons told once each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compressor
from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import group
from compressor.channels.plan import PruningPlan
from compressor.commands.prune import prune_file
from compressor.config import PruneSettings
from compressor.results import GroupRow
from compressor.steps.account import group_rows, left_alone, settings_of_plan, stats_in_memory
from tests.graph.joined_files import written
from tests.models import between, in_memory, model
from tests.oracle import couple


def test_what_goes_adds_up_over_steps_and_channels_are_those_of_the_first() -> None:
    _, coupling = couple(in_memory(between("b = Relu(a)")), PruneSettings())
    groups = group(coupling)
    cut = ChannelMask(coupling, groups[0].units[[1, 4]])
    once = group_rows(groups, cut)
    assert [(row.name, row.channels, row.removed) for row in once] == [("w", 16, 2), ("v", 8, 0)]
    assert once[0].axes == ["w:0", "v:1", "bias:0"]
    narrower = [replace(groups[0], units=groups[0].units[:14])]
    twice = group_rows(narrower, cut, once)
    assert [(row.channels, row.removed) for row in twice] == [(16, 4), (8, 0)], "groups that are gone stay in the table"
    assert group_rows(groups, None) == [row.model_copy(update={"removed": 0}) for row in once]
    assert all(isinstance(row, GroupRow) for row in twice)


@pytest.mark.parametrize(
    ("nodes", "line"),
    [(2, "recovery left 'n0', 'n1' alone: why"), (5, "recovery left 'n0', 'n1', 'n2' and 2 more alone: why")],
)
def test_a_reason_is_told_once(nodes: int, line: str) -> None:
    skipped = {f"n{k}": "why" for k in range(nodes)} | {"m": "another"}
    assert left_alone(skipped) == [line, "recovery left 'm' alone: another"]
    assert left_alone({}) == []


def test_a_plan_brings_what_decides_what_hangs_together() -> None:
    asked = PruneSettings.parse({"ratio": 0.5, "round_to": 4, "steps": 3})
    plan = PruningPlan((), {"cache_heads": True, "free_outputs": ["y"]})
    found = settings_of_plan(asked, plan)
    assert (found.ratio, found.cache_heads, found.free_outputs, found.round_to) == (None, True, ("y",), 4)
    assert found.steps == 1, "what took several steps goes in one"
    assert settings_of_plan(asked, None) is asked


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
