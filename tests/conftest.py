"""Fixtures for all tests."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch start theirs: tests run in several processes
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before a test imports ONNX Runtime, which otherwise reports its use

import numpy as np
import pytest
from hypothesis import settings

from compressor.config import recovery as recovery_settings

SEED = 20240607

settings.register_profile("shared", deadline=None)  # machines are shared: how long an example takes says nothing
settings.load_profile("shared")


USERS_DEFAULT = recovery_settings.RECOVERY
recovery_settings.RECOVERY = "none"  # here, because test modules make settings while they are imported


@pytest.fixture(autouse=True)
def bare_cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs recover nothing unless a test asks for it, or is marked ``recovers`` to try the default.

    Tests of the cut hold it against the masked original, which recovery would change; and it would take most of their
    time.
    """
    if request.node.get_closest_marker("recovers") is not None:
        monkeypatch.setattr(recovery_settings, "RECOVERY", USERS_DEFAULT)


@pytest.fixture
def seed() -> int:
    """The one seed of all tests."""
    return SEED


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A test's source of randomness: the same numbers on every run."""
    return np.random.default_rng(seed)
