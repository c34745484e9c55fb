"""benchmarks/mutant_faults.py: every fault can be planted, and leaves no trace."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_every_function_that_is_made_wrong_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    faults = importlib.import_module("mutant_faults").FAULTS
    assert len(faults) > 60
    for fault in faults:
        before = getattr(fault.owner, fault.attribute)
        with fault.planted():
            assert getattr(fault.owner, fault.attribute) is not before, fault.name
        after = getattr(fault.owner, fault.attribute)
        assert after is before or after == before, fault.name
