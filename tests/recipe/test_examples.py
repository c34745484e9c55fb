"""The example pipeline: its script, its workflow and its container say the same, and it runs from a clean clone."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.recipe.case import execute, states

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "examples" / "pipeline"
WORKFLOW = yaml.safe_load((PIPELINE / "workflow.yml").read_text(encoding="utf-8"))
SCRIPT = (PIPELINE / "run.sh").read_text(encoding="utf-8")
CONTAINER = (PIPELINE / "Dockerfile").read_text(encoding="utf-8")


def commands() -> list[str]:
    """What the workflow runs after it has installed."""
    steps = [step["run"] for step in WORKFLOW["jobs"]["compress"]["steps"] if "run" in step]
    assert "pip install '../..[tune,report]'" in steps[0]
    return steps[1:]


def test_script_and_workflow_run_the_same_commands():
    lines = [line for line in SCRIPT.splitlines() if line.startswith(("onnx-compress", "python"))]
    assert lines == commands()
    assert len(lines) == 3


def test_the_script_stops_at_the_first_failure_and_can_be_executed():
    assert "set -euo pipefail" in SCRIPT
    assert (PIPELINE / "run.sh").stat().st_mode & stat.S_IXUSR


def test_the_container_runs_what_the_workflow_does():
    run = next(line for line in commands() if "--json" in line)
    assert "WORKDIR" in CONTAINER
    assert f"-w /models/examples/pipeline {run}" in CONTAINER
    assert 'ENTRYPOINT ["onnx-compress"]' in CONTAINER
    assert "[tune,report]" in CONTAINER


def test_the_workflow_keeps_what_the_recipe_writes():
    kept = WORKFLOW["jobs"]["compress"]["steps"][-1]["with"]["path"]
    recipe = yaml.safe_load((PIPELINE / "recipe.yaml").read_text(encoding="utf-8"))
    for name in (recipe["output"], recipe["report"], "result.json"):
        assert f"examples/pipeline/{name}" in kept


def clone(folder: Path) -> Path:
    """The files of a clone that the examples read."""
    for name in ("examples", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".onnx-compressor"))
    return folder


def test_the_recipe_without_data_runs_from_a_clean_clone(tmp_path):
    outcome, _ = execute(clone(tmp_path) / "examples" / "recipes" / "clean.yaml")
    assert outcome.error is None
    assert states(outcome) == ["ran", "ran"]


@pytest.mark.slow
def test_the_script_runs_from_a_clean_clone(tmp_path):
    place = clone(tmp_path) / "examples" / "pipeline"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, rest in (("onnx-compress", "-m compressor"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {rest} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(place / "run.sh")], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((place / "result.json").read_text())
    assert [row["state"] for row in report["stages"]] == ["ran"] * 5
    assert report["output"]["bytes"] < 0.15 * report["input"]["bytes"]
    assert report["accuracy"]["after"] > report["accuracy"]["before"] - 0.02
    assert re.search(r"digits\.compressed\.onnx +9\d\.\d\d%", done.stdout)
    assert (place / "report.html").is_file()
