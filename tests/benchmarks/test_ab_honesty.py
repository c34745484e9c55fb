"""benchmarks/ab_honesty.py goes on where its result stops."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ab_honesty.py"
FOUND = {"low": 0.9, "value": 0.95, "high": 1.01}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ab_honesty", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ab_honesty"] = module
    spec.loader.exec_module(module)
    return module


def test_runs_that_are_there_are_not_made_again(script: ModuleType) -> None:
    plan = script.schedule(6, 2)
    whole = script.missing(plan, {"twin": [], "slow": []})
    assert [name for _, name in whole] == plan
    rows: dict[str, list[dict[str, float]]] = {"twin": [], "slow": []}
    for seed, name in whole:
        assert script.missing(plan, rows)[0] == (seed, name)
        rows[name].append(FOUND)
    assert script.missing(plan, rows) == []
    assert len(script.missing(script.schedule(9, 2), rows)) == 3


def test_noise_is_that_of_the_runs_that_tell_it(script: ModuleType) -> None:
    told = {**FOUND, "spread": 0.2, "noisy": True, "latency_ms": 0.1}
    found = script.summary([FOUND, told, {**FOUND, "high": 0.99}], 0.91)
    assert (found["runs"], found["hold_one"], found["below_one"], found["hold_nominal"]) == (3, 2, 1, 3)
    assert (found["tell_noise"], found["called_noisy"], found["median_spread"]) == (1, 1, 0.2)
