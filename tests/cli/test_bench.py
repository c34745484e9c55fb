"""``onnx-compress bench``: flags, exit codes, what is printed where."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner

from compressor.cli.main import compress
from tests.models import model

QUICK = ["--runs", 10, "--seconds", 0, "--rounds", 2, "--warmup-runs", 1, "--warmup-seconds", 0, "--threads", 1]


def invoke(*arguments: Any):
    old = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()
    return runner.invoke(compress, ["bench", *(str(a) for a in arguments)])


@pytest.fixture
def net(tmp_path: Path) -> Path:
    onnx.save(
        model("(float[n,8] x) => (float y) <float[8,4] w> { a = MatMul(x, w)\n y = Relu(a) }"), str(tmp_path / "m.onnx")
    )
    return tmp_path / "m.onnx"


def test_text_names_medians_and_the_speed_up(net):
    done = invoke(net, net, *QUICK, "--batch", "1,4", "--profile")
    assert done.exit_code == 0, done.stderr
    for words in ("median", "p99", "samples a second", "peak memory", "times as fast as A", "Batch 4: x 4x8", "MatMul"):
        assert words in done.stdout


def test_json_alone_goes_to_stdout(net):
    done = invoke(net, *QUICK, "--no-memory", "--json", "-", "-q")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["runs"][0]["a"]["test_times"] == 10
    assert document["settings"]["rounds"] == 2


def test_a_missed_gate_is_exit_6_and_the_report_is_written_first(net, tmp_path):
    done = invoke(net, *QUICK, "--no-memory", "--max-latency", "1us", "--json", tmp_path / "r.json")
    assert done.exit_code == 6
    assert done.stderr.splitlines()[-1].startswith("Error: a run takes ")
    assert json.loads((tmp_path / "r.json").read_text())["runs"]
    assert "median" in done.stdout


def test_a_provider_that_is_missing_is_exit_7(net):
    done = invoke(net, *QUICK, "--provider", "QNNExecutionProvider")
    assert done.exit_code == 7
    assert "QNNExecutionProvider is not available here" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch", "1,x"], "--batch must be a whole number, not 'x'"),
        (["--batch", "0"], "--batch must be at least 1, not 0"),
        (["--max-latency", "fast"], "--max-latency: 'fast' is not a time such as 2.5ms, 800us or 0.1s"),
        (["--min-speedup", "1.2"], "a speed-up needs two models"),
        (["--provider", "gpu"], "--provider: 'gpu' is not a provider"),
        (["--cuda-graph"], "--cuda-graph: that is for accelerators; say --provider"),
        (["--runs", "3"], "--runs must be at least 10, not 3"),
        (["--dim", "m=3"], "no symbolic dimension 'm'"),
        (["--json", "/no/such/folder/r.json"], "does not exist"),
    ],
)
def test_bad_input_is_one_sentence(net, arguments, words):
    done = invoke(net, *QUICK, *arguments)
    assert done.exit_code in (2, 3)
    assert words in done.stderr
    assert done.stderr.count("Error") == 1


def test_a_missing_file_is_exit_3(tmp_path):
    assert invoke(tmp_path / "none.onnx", *QUICK).exit_code == 3


def test_the_help_has_sections_and_examples():
    text = invoke("--help").stdout
    for words in (
        "Where it runs:",
        "How long:",
        "Gates:",
        "--min-speedup",
        "--io-binding / --no-io-binding",
        "Exit codes:",
    ):
        assert words in text.replace("/--", "/ --")
