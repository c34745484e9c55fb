"""What the result of a stage follows from: equal content means that what was made before is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor.config import PruneSettings
from compressor.config.base import RunSettings
from compressor.config.choosing import ChoosingSettings
from compressor.recipe.perform import content


def of(values: dict[str, Any], kind: type[RunSettings] = PruneSettings, name: str = "prune") -> dict[str, Any]:
    return content(name, kind.parse(values), "model", "original")


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"resume": True, "keep_checkpoint": True, "metrics": "progress.jsonl"}, True),
        ({"max_drop": 0.1}, True),  # a gate judges a result, and makes none
        ({"ratio": 0.25}, False),
        ({"external_data": True}, False),  # another set of files
        ({"seed": 7}, False),
    ],
)
def test_settings_that_no_result_follows_from_do_not_count(values: dict[str, Any], same: bool) -> None:
    trained = {"ratio": 0.5, "recover": "finetune"}
    assert (of(trained | values) == of(trained)) is same


def test_measurements_at_a_time_do_not_count() -> None:
    one, two = (of({"jobs": jobs}, ChoosingSettings, "unify") for jobs in (1, 2))
    assert one == two


def test_data_counts_by_what_is_in_it(tmp_path: Path) -> None:
    for name, text in (("a.bin", "1"), ("b.bin", "1"), ("c.bin", "2")):
        (tmp_path / name).write_text(text)
    one, two, three = (of({"ratio": 0.5, "data": str(tmp_path / name)}) for name in ("a.bin", "b.bin", "c.bin"))
    assert one == two
    assert one != three
