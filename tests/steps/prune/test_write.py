"""What a run leaves in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.channels.plan import PruningPlan
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import GateMissed, PlanError
from compressor.steps.prune.write import demand_channels_alone, demand_single_plan, write
from tests.models import in_memory
from tests.steps.prune.run_case import CHAIN

SETTINGS = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": "none", "scope": "local"})


def test_the_model_and_its_plan_are_written(tmp_path: Path) -> None:
    result = prune(in_memory(CHAIN), SETTINGS)
    stats = write(result, tmp_path / "small.onnx", tmp_path / "plan.json", SETTINGS)
    assert stats.bytes == (tmp_path / "small.onnx").stat().st_size
    assert PruningPlan.load(tmp_path / "plan.json").to_json() == result.plan.to_json()


def test_without_an_output_the_plan_alone_is_written(tmp_path: Path) -> None:
    stats = write(prune(in_memory(CHAIN), SETTINGS), None, tmp_path / "plan.json", SETTINGS)
    assert stats.path is None
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_steps_that_are_no_single_plan_leave_the_model_alone_and_say_so(tmp_path: Path) -> None:
    result = prune(in_memory(CHAIN), SETTINGS)
    demand_single_plan(result)
    result.plan = None
    write(result, tmp_path / "small.onnx", tmp_path / "plan.json", SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]
    with pytest.raises(GateMissed, match=r"no plan was written: .*; for a plan prune with --steps 1"):
        demand_single_plan(result)


def test_layers_that_change_are_in_no_plan() -> None:
    demand_channels_alone(SETTINGS)
    with pytest.raises(PlanError, match="a plan holds channels alone"):
        demand_channels_alone(PruneSettings(structure="lowrank"))
