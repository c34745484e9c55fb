"""``onnx-compress run``: flags, exit codes, what is printed where."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compressor.cli.main import compress
from compressor.config.choices import STAGES
from tests.recipe.case import fill, write


def invoke(*arguments: Any):
    old = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()
    return runner.invoke(compress, ["run", *(str(a) for a in arguments)])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write(fill(tmp_path), "clean:\nprune: {ratio: 0.5, round_to: 1}")


def test_the_help_names_every_stage():
    told = " ".join(invoke("--help").stdout.split())
    assert f"in order: {', '.join(STAGES)}." in told


def test_lines_on_stderr_and_the_table_on_stdout(recipe):
    done = invoke(recipe)
    assert done.exit_code == 0, done.stderr
    assert "[2/2] prune: runs" in done.stderr
    assert "stage" in done.stdout
    assert "Wrote" in done.stdout
    assert "finished before, kept in" in invoke(recipe).stderr


def test_json_goes_where_it_is_asked_for(recipe):
    done = invoke(recipe, "--json", "-", "-q")
    assert (done.exit_code, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["schema"] == "onnx-compressor.recipe/1"
    assert [row["report"]["schema"] for row in report["stages"]] == ["onnx-compressor.report/1"] * 2
    assert report["output"]["path"] == str(recipe.parent / "small.onnx")


def test_a_missed_gate_is_6_after_the_report(recipe):
    done = invoke(recipe, "--set", "gates.max_size=100", "--json", "-", "--card", recipe.parent / "card.md")
    assert done.exit_code == 6
    assert "Error: the recipe: the file has" in done.stderr
    assert "MISSED" in done.stderr
    report = json.loads(done.stdout)
    assert report["output"] is None
    assert report["gates"][0]["limit"] == 100
    assert report["failed"] in done.stderr
    # A card describes the file that is put in place.
    assert not (recipe.parent / "card.md").exists()
    assert "Warning: no card was written" in done.stderr
    assert not (recipe.parent / "small.onnx").exists()


def test_differing_outputs_are_5(recipe):
    recipe.write_text(recipe.read_text() + "  verify: {rtol: 1e-4}\n")
    assert invoke(recipe).exit_code == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "prune.ratoi=1"], "did you mean 'ratio'?"),
        (["--set", "output=net.onnx"], "output: "),
        (["--set", "output=data.npz"], "output: "),
        (["--set", "output=no/such/folder.onnx"], "does not exist"),
        (["--set", "report=small.onnx"], "report: "),
        (["--from", "unify"], "--from unify"),
    ],
)
def test_mistakes_are_2_and_one_sentence(recipe, arguments, words):
    before = (recipe.parent / "net.onnx").read_bytes()
    done = invoke(recipe, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert (recipe.parent / "net.onnx").read_bytes() == before


def test_dry_run_says_what_would_run(recipe):
    done = invoke(recipe, "--dry-run")
    assert done.exit_code == 0
    assert "[1/2] clean: would run" in done.stderr
    assert not (recipe.parent / "small.onnx").exists()


def test_work_and_from(recipe):
    folder = recipe.parent / "elsewhere"
    assert invoke(recipe, "--work", folder).exit_code == 0
    done = invoke(recipe, "--work", folder, "--from", "prune")
    assert "[1/2] clean: finished before" in done.stderr
    assert "[2/2] prune: runs" in done.stderr


def test_the_schema_needs_no_recipe():
    done = invoke("--schema")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["required"] == ["model", "stages"]


def test_paths_are_relative_to_the_recipe(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    assert invoke(Path(tmp_path.name) / recipe.name, "--set", "report=page.html").exit_code == 0
    assert (tmp_path / "small.onnx").is_file()
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Every stage and gate passed" in page
    assert "http" not in page.replace("http-equiv", "")


def test_an_interrupted_process_goes_on_when_it_is_started_again(tmp_path):
    stages = "prune: {ratio: 0.5, recover: none}\nfinetune: {epochs: 400, batch_size: 8, device: cpu}"
    recipe = write(fill(tmp_path), stages)
    command = [sys.executable, "-m", "compressor", "run", str(recipe)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    checkpoints = tmp_path / ".onnx-compressor"
    limit = time.monotonic() + 100
    while not list(checkpoints.glob("finetune-*/checkpoint/*.safetensors")) and time.monotonic() < limit:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=100)
    assert process.returncode == 130, told
    assert "Interrupted." in told
    assert not (tmp_path / "small.onnx").exists()
    done = invoke(recipe, "--dry-run")
    assert "[1/2] prune: finished before" in done.stderr
    assert "[2/2] finetune: would run" in done.stderr


@pytest.mark.parametrize(
    ("flag", "told"),
    [("report", "Write report: in the recipe, or give --set report=VALUE"), ("val-data", "Write val_data: in")],
)
def test_a_setting_of_the_recipe_is_no_option(flag: str, told: str) -> None:
    result = invoke("recipe.yaml", f"--{flag}", "a.html")
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Did you mean" not in result.stderr
