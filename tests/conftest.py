"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch start theirs: tests run in several processes
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # commands that tests start would compile the package each time
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before a test imports ONNX Runtime, which otherwise reports its use

import numpy as np
import pytest
from hypothesis import settings

from compressor.config.recovery import RecoverySection

SEED = 20240607
MEMORY, ROOM = Path("/dev/shm"), 1 << 30
"""A file system in memory, and bytes that have to be free there: a run of all tests takes some dozens of megabytes."""

# A proof makes folders that last for a moment. A disk takes milliseconds to remove one, and a prune makes a dozen.
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ["TMPDIR"] = str(MEMORY)  # for the commands that tests start
    tempfile.tempdir = str(MEMORY)  # for this process, which has asked for a place before

settings.register_profile("shared", deadline=None)  # machines are shared: how long an example takes says nothing
settings.load_profile("shared")


USERS_DEFAULT = str(RecoverySection.model_fields["recover"].default)


def recover_by_default(name: str) -> None:
    """Makes ``name`` what ``recover`` is in settings that do not say it, whichever command they are for."""
    classes: list[type[RecoverySection]] = [RecoverySection]
    for each in classes:
        classes += each.__subclasses__()
        each.model_fields["recover"].default = name
        each.model_rebuild(force=True)


recover_by_default("none")  # here, because test modules make settings while they are imported


@pytest.fixture(autouse=True)
def bare_cut(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs recover nothing unless a test asks for it, or is marked ``recovers`` to try the default.

    Tests of the cut hold it against the masked original, which recovery would change; and it would take most of their
    time. Classes of settings inherit the default when they are made, here that of tests; the product knows one only.
    """
    if request.node.get_closest_marker("recovers") is None:
        yield
        return
    recover_by_default(USERS_DEFAULT)
    yield
    recover_by_default("none")


def pytest_collection_finish() -> None:
    """What was collected stays to the end: thousands of tests are nothing that each garbage collection has to visit."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def seed() -> int:
    """The one seed of all tests."""
    return SEED


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A test's source of randomness: the same numbers on every run."""
    return np.random.default_rng(seed)
