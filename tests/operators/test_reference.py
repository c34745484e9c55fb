"""Masked equals removed inside the graph too: every float value of every known idiom.

Cases of single operators compare all their values where they are checked (case.py).
"""

from __future__ import annotations

import pytest

from compressor.config import PruneSettings
from tests.models import in_memory
from tests.oracle import TOLERANCE, worst
from tests.property.idioms import IDIOMS


@pytest.mark.parametrize("name", IDIOMS)
def test_idioms(name: str) -> None:
    value, difference = worst(in_memory(IDIOMS[name]()), PruneSettings(ratio=0.5, round_to=1))
    assert difference < TOLERANCE, value
