"""``onnx-compress robustness``: what is printed and written, and exit codes."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from compressor.cli.main import compress
from tests.models import model

QUICK = ("--noise-levels", "2", "--draws", "1")


def invoke(*arguments: Any):
    old = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()
    return runner.invoke(compress, ["robustness", *(str(a) for a in arguments)])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    nodes = "a = Conv(x, w)\n p = GlobalAveragePool(a)\n y = Flatten(p)"
    text = f"(float[n,3,8,8] x) => (float y) <float[4,3,3,3] w> {{ {nodes} }}"
    for name, seed in (("a.onnx", 0), ("b.onnx", 1)):
        onnx.save(model(text, seed=seed), str(tmp_path / name))
    x = np.random.default_rng(0).random((6, 3, 8, 8), np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(6) % 4)
    return tmp_path / "a.onnx", tmp_path / "b.onnx"


def test_random_inputs_need_nothing_else(pair):
    done = invoke(*pair, "--samples", 8, *QUICK)
    assert done.exit_code == 0
    assert "y: share of samples with the same class as A" in done.stdout
    assert "noise 0.35" in done.stdout
    assert "Left out: accuracy: it needs --data with labels." in done.stdout
    assert "B gives the same class as A on" in done.stdout
    assert done.stderr == ""


def test_data_with_labels_give_json_text_and_page(pair, tmp_path):
    page = tmp_path / "page.html"
    done = invoke(*pair, "--data", tmp_path / "d.npz", "--json", "-", "--report", page, *QUICK)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "onnx-compressor.robustness/1"
    assert {row["model"] for row in document["accuracy"]} == {"A", "B"}
    assert "Excess error: points of accuracy" in done.stderr
    assert "Most parameters saved at no more than 0.50% of accuracy lost" in done.stderr
    text = page.read_text(encoding="utf-8")
    assert "Accuracy under noise" in text
    assert "<script" not in text


def test_all_severities_are_shown_when_asked_for(pair, tmp_path):
    arguments = (*pair, "--data", tmp_path / "d.npz", "--corruptions", "blur,contrast", *QUICK)
    assert "blur 3" not in invoke(*arguments).stdout
    shown = invoke(*arguments, "-v").stdout
    assert "blur 3" in shown
    assert "contrast 5" in shown
    assert "JPEG" not in shown


def test_mistakes_have_their_codes(pair, tmp_path):
    assert invoke(pair[0]).exit_code == 2
    assert invoke(pair[0], tmp_path / "none.onnx").exit_code == 3
    assert invoke(*pair, "--provider", "QNNExecutionProvider").exit_code == 7
    unknown = invoke(*pair, "--corruptions", "fog")
    assert unknown.exit_code == 2
    assert "'fog' is not a corruption" in unknown.stderr
    bare = invoke(*pair, "--normalised")
    assert bare.exit_code == 2
    assert "give --mean and --std" in bare.stderr
    onnx.save(model("(float[n,9] x) => (float y) { y = Relu(x) }"), str(tmp_path / "c.onnx"))
    other = invoke(pair[0], tmp_path / "c.onnx")
    assert other.exit_code == 2
    assert "input 'x' has shape" in other.stderr
    assert invoke(*pair, "--report", pair[0]).exit_code == 2


def test_help_fits_a_terminal():
    done = invoke("--help")
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
