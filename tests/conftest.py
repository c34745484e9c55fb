"""Fixtures for all tests."""

from __future__ import annotations

import numpy as np
import pytest

SEED = 20240607


@pytest.fixture
def seed() -> int:
    """The one seed of all tests."""
    return SEED


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A test's source of randomness: the same numbers on every run."""
    return np.random.default_rng(seed)
