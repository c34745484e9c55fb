"""benchmarks/gpu_record.py, run as a user runs it, on the CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_record.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_record", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_record"] = module
    spec.loader.exec_module(module)
    return module


def test_a_second_call_goes_on_where_the_first_one_stopped(script: ModuleType, tmp_path: Path) -> None:
    asked = ("--provider", "cpu", "--quick", "--out", str(tmp_path), "--work", str(tmp_path / "work"))
    assert script.main([*asked]) == 0
    [path] = tmp_path.glob("cpu-*.json")
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 8
    for row in rows.values():
        assert "error" not in row
        assert row["parity"]["passed"]
        assert row["latency"]["a_ms"] > 0
        assert (row["latency"]["macs_left"] < 0.5) == (row["ratio"] == 0.5)
        assert (row["latency"]["speed_up"] is None) == (row["ratio"] == 0 and row["precision"] == "fp32")
    lost = next(key for key in rows if "fp16" in key)
    changed = {key: {**row, "seconds": -1.0} for key, row in rows.items() if key != lost}
    path.write_text(json.dumps({"rows": changed}), encoding="utf-8")
    assert script.main([*asked]) == 0
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert {key for key, row in rows.items() if row["seconds"] != -1.0} == {lost}


def test_without_a_gpu_nothing_is_written(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert script.main(["--quick", "--out", str(tmp_path / "out")]) == 7
    told = capsys.readouterr().err
    assert told.startswith("Error: there is no NVIDIA GPU")
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_without_models_is_a_usage_error(tmp_path: Path) -> None:
    assert run("--models", str(tmp_path)).returncode == 2


def test_what_tells_most_comes_first(script: ModuleType) -> None:
    found = script.cases(["a", "b"], script.Plan())
    assert len({case.key for case in found}) == len(found) == 2 * 2 * 2 * (3 * 4 + 1)
    assert {(case.ratio, case.round_to) for case in found[:8]} == {(0.5, 8)}
    assert {case.round_to for case in found if case.ratio == 0} == {8}


def test_time_is_up_before_it_is_exceeded(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter(range(0, 6000, 50))
    monkeypatch.setattr(script.time, "perf_counter", lambda: float(next(now)))
    assert list(script.within(list(range(9)), 6)) == [0, 1, 2]
    assert "call again" in capsys.readouterr().err


def test_a_case_that_fails_is_a_row_with_a_sentence(script: ModuleType, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    case = script.Case("broken", 0.5, 8, "fp32", 1)
    row = script.Recorder(script.Files({"broken": broken}, tmp_path), "cpu", script.BRIEF).row(case)
    assert "broken.onnx" in row["error"]
    assert "latency" not in row
    assert case.key in script.table([row])
