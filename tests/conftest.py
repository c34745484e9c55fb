"""Fixtures for all tests."""

from __future__ import annotations

import numpy as np
import pytest

SEED = 20240607


@pytest.fixture
def rng() -> np.random.Generator:
    """The one source of randomness of a test: the same numbers on every run."""
    return np.random.default_rng(SEED)
