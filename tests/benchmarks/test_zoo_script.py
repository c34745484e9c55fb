"""benchmarks/zoo.py and the check behind it, run as a user runs them, around a fake pruner."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

MODEL = """<ir_version: 10, opset_import: ["" : 20]>
toy (float[n, 2] x) => (float[n, 3] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }
"""

# Does to the file what the file's name says, and reports made-up numbers under the real report's keys.
FAKE = """
import json, shutil, sys, time
from pathlib import Path
source, argv = Path(sys.argv[1]), sys.argv[2:]
output, report = (Path(argv[argv.index(flag) + 1]) for flag in ("-o", "--json"))
if source.stem == "slow":
    time.sleep(60)
if source.stem == "refused":
    print("Usage: prune IN\\n\\nError: refused.onnx: no channel can go;\\ntry another ratio", file=sys.stderr)
    sys.exit(4)
if source.stem == "crash":
    output.write_text("half")
    raise RuntimeError("boom")
if source.stem == "silent":
    sys.exit(0)
if source.stem == "hungry":
    ballast = b"x" * 300_000_000
shutil.copy(source, output)
if source.stem == "broken":
    output.write_bytes(source.read_bytes().replace(b"MatMul", b"MatMuI"))
left = {"large": 40, "hungry": 30}.get(source.stem, 20)
report.write_text(json.dumps({
    "version": "9.9", "warnings": argv, "seconds": {"load": 0.5}, "groups": [], "frozen": [],
    "input": {"macs": 100, "params": 50}, "output": {"macs": left, "params": 10},
    "proof": {"max_rel_err": left * 1e-8, "passed": source.stem != "hungry", "provider": "cpu"},
}))
"""

FINITE = ("good", "sub/large", "hungry", "broken", "refused", "crash", "silent")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The fake pruner, and models under the names that tell it what to do."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "fake.py").write_text(FAKE)
    for name in (*(f"finite/{name}" for name in FINITE), "endless/slow"):
        path = folder / f"{name}.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(onnx.parser.parse_model(MODEL), path)
    return folder


def zoo(folder, *arguments):
    """Runs the script: exit code, text, JSON."""
    out = folder / "out.json"
    command = shlex.join([sys.executable, str(folder / "fake.py")])
    argv = [sys.executable, BENCHMARKS / "zoo.py", "--command", command, "--out", out, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr, json.loads(out.read_text())


@pytest.fixture(scope="module")
def measured(folder):
    return zoo(folder, folder / "finite")


@pytest.fixture(scope="module")
def rows(measured):
    return {row["file"].removesuffix(".onnx"): row for row in measured[2]["files"]}


def test_every_file_has_a_row_and_a_line(measured, rows):
    assert set(rows) == set(FINITE)
    for name in FINITE:
        assert sum(line.startswith(f"{name}.onnx ") for line in measured[1].splitlines()) == 1


def test_a_good_file_is_valid_proved_and_measured(rows):
    row = rows["good"]
    assert (row["valid"], row["proved"], row["max_rel_err"]) == (True, True, pytest.approx(2e-7))
    assert (row["macs_left"], row["params_left"]) == (0.2, 0.2)
    assert row["version"] == "9.9"
    assert 0 < row["seconds"] < 60


def test_validity_is_checked_independently_of_the_report(measured, rows):
    row = rows["broken"]
    assert row["exit_code"] == 0
    assert row["proved"]
    assert not row["valid"]
    assert "MatMuI" in row["refusal"]
    assert measured[0] == 1


def test_a_refusal_is_reported_by_exit_code_and_sentence(rows):
    assert rows["refused"]["exit_code"] == 4
    assert rows["refused"]["error"] == "Error: refused.onnx: no channel can go; try another ratio"
    assert "valid" not in rows["refused"]


def test_a_file_left_behind_by_a_failure_is_reported(rows):
    assert rows["crash"]["error"] == "RuntimeError: boom (and left an output file)"


def test_success_without_a_file_is_an_error(rows):
    assert rows["silent"]["error"] == "exit code 0, but no output file"


def test_peak_memory_is_that_of_the_child(rows):
    assert rows["hungry"]["peak_mib"] - rows["good"]["peak_mib"] == pytest.approx(300e6 / 2**20, abs=15)


def test_the_summary_counts_and_lists(measured):
    summary = measured[2]["summary"]
    assert (summary["files"], summary["valid"], summary["proved"]) == (7, 3, 3)
    assert summary["invalid"] == ["broken.onnx"]
    assert summary["exit_codes"] == {"0": 5, "1": 1, "4": 1}
    assert summary["median_macs_left"] == pytest.approx(0.25)
    assert (summary["worst_err"], summary["worst_err_file"]) == (pytest.approx(4e-7), "sub/large.onnx")
    assert summary["above"] == {"sub/large.onnx": 0.4}
    assert {"platform", "cpus", "onnx", "onnxruntime"} <= set(measured[2]["machine"])


def test_a_slow_file_is_killed_at_the_timeout(folder):
    code, text, content = zoo(folder, folder / "endless", "--timeout", "1")
    (row,) = content["files"]
    assert row["error"] == "killed after the timeout of 1 s"
    assert 1 <= row["seconds"] < 30
    assert code == 0
    assert "exit -9" in text


def test_options_reach_the_pruner(folder):
    *_, content = zoo(folder, folder / "finite", "--only", "sub", "--ratio", "0.3", "--", "--exclude", "stem*")
    (row,) = content["files"]
    argv = " ".join(row["warnings"])
    assert "--ratio 0.3 --round-to 1 --json" in argv
    assert argv.endswith("--exclude stem*")


def test_several_jobs_give_the_same_rows(folder, rows):
    *_, content = zoo(folder, folder / "finite", "--jobs", "2", "--only", "o")
    for row in content["files"]:
        expected = rows[row["file"].removesuffix(".onnx")]
        assert {key: row.get(key) for key in ("exit_code", "error", "refusal", "macs_left")} == {
            key: expected.get(key) for key in ("exit_code", "error", "refusal", "macs_left")
        }


COUNTED = """<ir_version: 10, opset_import: ["" : 20]>
counted (float[n, 4, 8, 8] x, float[5, 3] a, float[n, 2, 6] q, float[n, 6, 7] k)
    => (float[n, 6, 4, 4] c, float[n, 3, 16, 16] t, float[3, 10] g, float[n, 2, 7] m, float[n, 2, 7] e)
{
    c = Conv <group = 2, strides = [2, 2], pads = [1, 1, 1, 1]> (x, wc)
    t = ConvTranspose <strides = [2, 2]> (x, wt)
    g = Gemm <transA = 1> (a, wg)
    m = MatMul(q, k)
    e = Einsum <equation = "...ij,...jk->...ik"> (q, k)
}
"""
UNCOUNTED = """<ir_version: 10, opset_import: ["" : 20]>
uncounted (float[5, 1, 4] x) => (y)
{
    y = LSTM <hidden_size = 3> (x, w, r)
}
"""


def verdict(path, text, **weights):
    """What verdict.py says of the text with constant weights of the given shapes."""
    model = onnx.parser.parse_model(text)
    for name, shape in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(shape, 0.5, np.float32), name))
    onnx.save(model, path)
    argv = [sys.executable, BENCHMARKS / "verdict.py", path, "--count", "--run"]
    return json.loads(subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout)


def test_the_counter_agrees_with_arithmetic(tmp_path):
    found = verdict(tmp_path / "m.onnx", COUNTED, wc=(6, 2, 3, 3), wt=(4, 3, 2, 2), wg=(5, 10))
    convolution, transposed = 6 * 4 * 4 * 2 * 9, 4 * 8 * 8 * 3 * 4
    assert found["macs"] == convolution + transposed + 3 * 10 * 5 + 2 * (2 * 7 * 6)
    assert found["params"] == 6 * 2 * 9 + 4 * 3 * 4 + 5 * 10
    assert (found["uncounted"], found["refusal"]) == ([], None)
    assert found["outputs"]["c"] == [1, 6, 4, 4]


def test_what_cannot_be_counted_is_named(tmp_path):
    found = verdict(tmp_path / "m.onnx", UNCOUNTED, w=(1, 12, 4), r=(1, 12, 3))
    assert (found["macs"], found["uncounted"]) == (0, ["LSTM y"])
