"""The folder that recipes are run in."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.evaluate import timings
from tests.recipe.case import fill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurement counts as noisy: what a stage does must not depend on what else the machine does."""
    monkeypatch.setattr(timings, "_noisy", lambda columns, found: False)
