"""A report says what was asked for, and what the run made of what was left open."""

from __future__ import annotations

import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.results import Report
from tests.models import between, in_memory

ASKED = PruneSettings(ratio=0.5, round_to=1, samples=8, recover="none")


@pytest.fixture(scope="module", name="told")
def fixture_told() -> Report:
    return prune(in_memory(between("b = Relu(a)")), ASKED).report


def test_settings_are_those_that_were_asked_for(told: Report) -> None:
    assert told.settings["scope"] == "auto"
    assert told.settings == ASKED.model_dump(mode="json")


def test_what_was_left_open_is_told_as_it_ran(told: Report) -> None:
    assert "auto" not in (told.ran["scope"], told.ran["criterion"])
    assert told.done["scope"] == told.ran["scope"]
    assert told.done["ratio"] == 0.5
    assert all(told.done[name] == value for name, value in told.ran.items())


def test_what_the_run_kept_to_is_not_told_again(told: Report) -> None:
    left_open = {name for name, value in told.ran.items() if told.settings.get(name) != value}
    assert "scope" in left_open
    assert not {"ratio", "round_to", "seed"} & told.ran.keys()
