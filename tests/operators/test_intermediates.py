"""Masked equals removed inside the graph too: every float value of every case and of every known idiom."""

from __future__ import annotations

import pytest

from compressor.config import PruneSettings
from tests.models import in_memory
from tests.oracle import TOLERANCE, worst
from tests.property.idioms import IDIOMS

from .case import Case
from .every import CASES


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_operators(case: Case) -> None:
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 1, **case.settings})
    name, difference = worst(in_memory(case.build()), settings)
    assert difference < TOLERANCE, name


@pytest.mark.parametrize("name", IDIOMS)
def test_idioms(name: str) -> None:
    value, difference = worst(in_memory(IDIOMS[name]()), PruneSettings(ratio=0.5, round_to=1))
    assert difference < TOLERANCE, value
