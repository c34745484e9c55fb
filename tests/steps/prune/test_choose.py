"""What a step chooses by: every criterion goes with everything that takes channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.config import PruneSettings
from compressor.config.choices import CRITERIA, STRUCTURES
from compressor.config.selection import CRITERION
from compressor.core.clock import Clock
from compressor.pruning.cut.analysis import analyse
from compressor.steps.prune.choose import chosen_changes, means_of
from compressor.steps.prune.losses import Losses, RunCurves
from compressor.steps.prune.objective import with_latency_target
from compressor.steps.run_samples import RunSamples
from tests.models import between, in_memory
from tests.reconstruct.case import noise


@pytest.fixture
def data(tmp_path: Path) -> str:
    np.savez(tmp_path / "data.npz", x=noise(16, 4, 6, 6))
    return str(tmp_path / "data.npz")


@pytest.mark.parametrize("structure", [name for name, structure in STRUCTURES.items() if structure.channels])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_goes_with_every_structure_of_channels(criterion: str, structure: str, data: str) -> None:
    asked = {"ratio": 0.3, "round_to": 1, "samples": 16, "data": data, "val_share": 0}
    settings = PruneSettings.parse({**asked, "criterion": criterion, "structure": structure})
    source = in_memory(between("c = Relu(a) b = Conv<pads=[1,1,1,1]>(c, u)", more="float[16,16,3,3] u"))
    means = means_of(source, settings, RunSamples.of(settings, source), Clock())
    done = chosen_changes(analyse(source, settings), settings, None, 1000, means)
    assert done.choice.plan.removals or done.changes


def test_what_ranked_the_channels_is_told_where_losses_cannot_be_read(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "data": data})
    source = in_memory(between("b = Relu(a)"))
    monkeypatch.setattr(Losses, "curves", lambda *_, **__: RunCurves(None))
    means = means_of(source, settings, RunSamples.of(settings, source), Clock())
    done = chosen_changes(analyse(source, settings), settings, None, 1000, means)
    assert {scored.ranked_by for scored in done.choice.scored.values()} == {CRITERION}


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_goes_with_a_budget_of_time(criterion: str) -> None:
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "objective": "latency", "criterion": criterion})
    assert (
        with_latency_target(settings, analyse(in_memory(between("b = Relu(a)")), settings), 1000).target_latency
        is not None
    )
