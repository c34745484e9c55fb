"""``onnx-compress finetune``: the whole way on a small model, and what it says where it cannot go."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from compressor.cli.main import compress
from tests.models import model

pytest.importorskip("torch")

TEXT = """
(float[N,3,6,6] x) => (float[N,4] y) <float[8,3,3,3] w, float[8] b, float[8,4] v> {
    h = Conv<pads=[1,1,1,1]>(x, w, b)   r = Relu(h)   p = GlobalAveragePool(r)   f = Flatten(p)   y = MatMul(f, v) }"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    onnx.save(model(TEXT), tmp_path / "big.onnx")
    onnx.save(model(TEXT, seed=1), tmp_path / "small.onnx")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(0, 1, (64, 3, 6, 6)).astype(np.float32))
    np.savez(tmp_path / "labelled.npz", x=np.zeros((20, 3, 6, 6), np.float32), y=np.full(20, 9))
    return tmp_path


def command(place: Path, *more: str, data: str = "data.npz", teacher: bool = True) -> list[str]:
    imitated = ["--teacher", str(place / "big.onnx")] if teacher else []
    start = [sys.executable, "-m", "compressor", "finetune", str(place / "small.onnx"), *imitated]
    return [*start, "--data", str(place / data), "--batch-size", "8", "--device", "cpu", *more]


def run(place: Path, *more: str, **options: object) -> Result:
    arguments = command(place, *more, **options)  # type: ignore[arg-type]
    # Before click 8.2 the runner mixes stderr into stdout unless told not to.
    old = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()
    return runner.invoke(compress, arguments[3:])


def test_the_whole_way(place: Path) -> None:
    metrics = place / "metrics.jsonl"
    done = run(place, "--epochs", "3", "--metrics", str(metrics), "--json", "-", "--optimiser", "adamw")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema"] == "onnx-compressor.finetune/1"
    assert report["after"]["loss"] < report["before"]["loss"]
    assert report["bytes"] == (place / "small.tuned.onnx").stat().st_size
    assert report["max_rel_err"] < 1e-4
    assert len(report["epochs"]) == 3
    told = " ".join(done.stderr.split())
    order = ["Trained for 3 epochs", "Proof: the written weights", "Loss (", "Wrote "]
    assert [told.index(text) for text in order] == sorted(told.index(text) for text in order)
    events = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [e["epoch"] for e in events if e["kind"] == "epoch"] == [1, 2, 3]
    assert not list(place.glob("*.checkpoint"))


@pytest.mark.parametrize(
    ("more", "options", "code", "word"),
    [
        ([], {"teacher": False}, 2, "--teacher"),
        (["--loss", "cross-entropy"], {"data": "labelled.npz"}, 2, "labels run from"),
        (["--loss", "cross-entropy"], {}, 2, "no labels"),
        (["--loss", "kl"], {}, 2, "is not a loss"),
        (["--device", "gpu"], {}, 2, "is no device"),
        (["--resume"], {}, 2, "no checkpoint"),
        (["-o", "nowhere/out.onnx"], {}, 2, "does not exist"),
        (["--device", "cuda:99"], {}, 7, "not available"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    place: Path, more: list[str], options: dict[str, object], code: int, word: str
) -> None:
    done = run(place, *more, **options)
    assert done.exit_code == code, done.stderr
    assert word in " ".join(done.stderr.split())
    assert not (place / "small.tuned.onnx").exists()


def test_what_is_lacking_is_said_before_torch_is_loaded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "compressor.train.finetune", None)
    done = run(place, teacher=False)
    assert (done.exit_code, "--teacher" in done.stderr) == (2, True)


def test_ctrl_c_leaves_a_checkpoint_and_no_model(place: Path) -> None:
    started = subprocess.Popen(
        command(place, "--epochs", "100000"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    kept = place / "small.tuned.onnx.checkpoint" / "checkpoint.safetensors"
    end = time.monotonic() + 120
    while not kept.exists() and time.monotonic() < end:
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    started.communicate(timeout=60)
    assert started.returncode == 130
    assert kept.is_file()
    assert not list(place.glob("*.tuned.onnx"))
    assert not list(place.rglob("*.tmp"))


@pytest.mark.slow
def test_accelerate_launches_processes_of_which_one_writes(place: Path) -> None:
    pytest.importorskip("accelerate")
    # What --multi_gpu starts are plain processes; --device cpu keeps them on the CPU, where --cpu would want MPI.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    metrics = place / "metrics.jsonl"
    arguments = command(place, "--epochs", "2", "--metrics", str(metrics), "--json", "-")[1:]
    done = subprocess.run(
        [*launch, "--main_process_port", str(port), *arguments],
        capture_output=True,
        text=True,
        timeout=400,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["steps"] == 2 * (58 // 16)
    assert report["after"]["loss"] < report["before"]["loss"]
    assert (place / "small.tuned.onnx").is_file()
    ends = [e for e in map(json.loads, metrics.read_text().splitlines()) if e["kind"] == "epoch"]
    assert [e["epoch"] for e in ends] == [1, 2]


def test_missing_torch_is_one_sentence(place: Path) -> None:
    hidden = place / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{hidden}{os.pathsep}{os.getcwd()}"}
    done = subprocess.run(command(place), capture_output=True, text=True, timeout=100, env=environment, check=False)
    assert done.returncode == 2
    assert "pip install 'onnx-compressor[tune]'" in done.stderr


def test_help_does_not_need_torch() -> None:
    code = "import sys\nfrom compressor.cli.main import compress\n"
    code += (
        "try:\n    compress(['finetune', '--help'])\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "--learning-rate" in done.stdout
