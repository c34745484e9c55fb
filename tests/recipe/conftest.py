"""The folder that recipes are run in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipe.case import fill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)
