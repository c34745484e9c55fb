"""What is left when a run fails late, and how places that cannot be written to are named. Nothing is stubbed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner, Result

import compressor
from compressor.cli.main import COMMANDS as MAIN_COMMANDS
from compressor.cli.main import compress
from compressor.core import scratch
from compressor.errors import GateMissed, UsageError
from tests.interruptions import reaches_failing
from tests.models import between, in_memory, model

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(between("b = Relu(a)"), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(compress, arguments)


def refused(code: int, *arguments: str) -> str:
    found = run(*arguments)
    assert found.exit_code == code, found.output
    lines = [line for line in found.stderr.splitlines() if not line.startswith(("Usage", "Try", "Warning"))]
    assert len([line for line in lines if line]) == 1, found.stderr
    assert "Internal error" not in lines[0]
    return lines[0]


COMMANDS = {
    "prune": ("prune", "net.onnx", "-o", "out.onnx"),
    "external data": ("prune", "net.onnx", "-o", "out.onnx", "--external-data"),
    "clean": ("clean", "net.onnx", "-o", "out.onnx"),
    "unify": ("unify", "net.onnx", "-o", "out.onnx", "--block", "1x4", "--all-layers"),
}


@needs_full
@pytest.mark.parametrize("name", COMMANDS)
def test_a_report_that_cannot_be_written_leaves_no_output(folder: Path, name: str) -> None:
    places = [f"{flag}={path}" for flag, path in (("--json", "/dev/full"), ("--report", "/dev/full"))]
    places.append("--plan-out=/dev/full")
    for place in [p for p in places if name in ("prune", "external data") or p.startswith("--json")]:
        assert "No space left" in refused(2, *COMMANDS[name], "-q", place)
        assert sorted(os.listdir(folder)) == ["net.onnx"]


@needs_full
def test_a_plan_goes_too_where_what_follows_fails(folder: Path) -> None:
    refused(2, *COMMANDS["prune"], "-q", "--plan-out", "plan.json", "--json", "/dev/full")
    assert os.listdir(folder) == ["net.onnx"]


PRINTING = {
    "prune": ("net.onnx", "--recover", "none", "--no-verify"),
    "unify": ("net.onnx", "--block", "1x4", "--all-layers"),
    "quantize": ("net.onnx", "--samples", "4"),
    "finetune": ("net.onnx", "--data", "data.npz", "--teacher", "net.onnx", "--epochs", "1", "--device", "cpu"),
    "clean": ("net.onnx",),
    "inspect": ("net.onnx",),
    "sensitivity": ("net.onnx", "--samples", "4", "--ratios", "0.5"),
    "diff": ("net.onnx", "net.onnx"),
    "bench": ("net.onnx", "--rounds", "1", "--runs", "10", "--seconds", "0", "--warmup-seconds", "0", "--no-memory"),
    "verify": ("net.onnx", "net.onnx"),
    "robustness": ("net.onnx", "net.onnx", "--samples", "4"),
    "run": ("--schema",),
}
"""Arguments with which each command ends well."""

OLD = {
    "prune": ("out.onnx", "plan.json", "report.html", "card.md"),
    "external data": ("out.onnx", "out.onnx.data"),
    "clean": ("out.onnx", "card.md"),
    "unify": ("out.onnx", "card.md"),
    "quantize": ("out.onnx", "card.md"),
    "finetune": ("out.onnx", "card.md"),
    "run": ("out.onnx", "card.md", "report.html"),
    "sensitivity": ("out.json", "plot.html"),
    "two": ("out.onnx", "tail.pruned.onnx"),
}
"""What each command writes beside its JSON, here in the places of old files."""
WRITING = {
    **COMMANDS,
    "prune": (*COMMANDS["prune"], "--plan-out", "plan.json", "--report", "report.html", "--card", "card.md"),
    "quantize": ("quantize", "net.onnx", "-o", "out.onnx", "--samples", "4"),
    "finetune": ("finetune", *PRINTING["finetune"], "-o", "out.onnx"),
    "run": ("run", "recipe.yaml"),
    "sensitivity": ("sensitivity", *PRINTING["sensitivity"], "-o", "out.json", "--plot", "plot.html"),
    "two": ("prune", "net.onnx", "--also", "tail.onnx:z=y", "-o", "out.onnx"),
}
RECIPE = """
model: net.onnx
output: out.onnx
report: report.html
stages:
  clean: {}
"""


def arguments_of(name: str) -> tuple[str, ...]:
    cards = ("--card", "card.md") if "card.md" in OLD[name] and "--card" not in WRITING[name] else ()
    return (*WRITING[name], *cards, "-q")


def prepared(folder: Path) -> None:
    np.savez(folder / "data.npz", x=np.random.default_rng(0).normal(size=(8, 4, 6, 6)).astype(np.float32))
    (folder / "recipe.yaml").write_text(RECIPE)
    onnx.save(model("(float[n,2,6,6] z) => (float[n,2,6,6] r) { r = Relu(z) }"), folder / "tail.onnx")


def written_old(folder: Path, name: str) -> dict[str, str]:
    for file in OLD[name]:
        (folder / file).write_text(f"old {file}")
    return {file: f"old {file}" for file in OLD[name]}


def left_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: (folder / name).read_text(errors="replace") for name in names if (folder / name).exists()}


@needs_full
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("name", OLD)
def test_a_report_that_cannot_be_written_leaves_what_was_there(folder: Path, name: str, old: bool) -> None:
    prepared(folder)
    before = written_old(folder, name) if old else {}
    assert "No space left" in refused(2, *arguments_of(name), "--json", "/dev/full")
    assert left_of(folder, OLD[name]) == before
    assert not [file for file in os.listdir(folder) if file.startswith(".onnx-compressor-")]
    assert run(*arguments_of(name), "--json", "out.json" if "out.json" not in OLD[name] else "b.json").exit_code == 0
    assert left_of(folder, OLD[name]).keys() == set(OLD[name])
    assert not set(left_of(folder, OLD[name]).values()) & set(before.values())
    assert not [file for file in os.listdir(folder) if file.startswith(".onnx-compressor-")]


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("name", ["prune", "external data", "two"])
def test_interrupted_at_any_move_a_command_leaves_what_was_there(folder: Path, name: str, old: bool) -> None:
    prepared(folder)
    words = (*arguments_of(name), "--recover", "none", "--no-verify", "--json", "a.json")
    if name == "two":
        words = (*words, "--external-data")
    listed, at = sorted(os.listdir(folder)), 0
    while True:
        at += 1
        before = written_old(folder, name) if old else {}
        found: list[Result] = []
        if not reaches_failing("replace", at, KeyboardInterrupt(), lambda: found.append(run(*words))):  # noqa: B023 -- called at once
            break
        assert found[0].exit_code == 130
        assert left_of(folder, OLD[name]) == before
        # The report of the run is why it ended.
        assert sorted(os.listdir(folder)) == sorted({*listed, *before, "a.json"})
        assert '"Interrupted"' in (folder / "a.json").read_text()
        (folder / "a.json").unlink()
    assert found[0].exit_code == 0
    assert at > len(OLD[name]) + 1


def test_a_gate_that_is_missed_leaves_the_output(folder: Path) -> None:
    assert run(*COMMANDS["prune"], "-q", "--max-size", "1kB", "--json", "report.json").exit_code == 6
    assert sorted(os.listdir(folder)) == ["net.onnx", "out.onnx", "report.json"]


def test_a_failure_leaves_what_was_there_before(folder: Path) -> None:
    (folder / "out.onnx").write_bytes(b"mine")
    assert run(*COMMANDS["prune"], "--criterion", "nonsense").exit_code == 2
    assert run(*COMMANDS["prune"], "--exclude", "*").exit_code == 4
    assert (folder / "out.onnx").read_bytes() == b"mine"


@needs_full
@pytest.mark.parametrize(
    "arguments", [(*COMMANDS["prune"], "--recover", "none"), ("inspect", "net.onnx", "--json", "-"), ("--help",)]
)
def test_a_full_disk_behind_stdout_is_an_error(folder: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "compressor", *arguments]
        done = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "printed: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(folder) == ["net.onnx"]


EVERY = """
import os, sys
from compressor.cli.main import COMMANDS, compress_entry
full = os.open("/dev/full", os.O_WRONLY)
for name, arguments in eval(sys.argv[1]).items():
    # Whatever met the full disk has turned stdout away from it.
    os.dup2(full, 1)
    sys.argv = ["onnx-compress", name, *arguments]
    try:
        compress_entry()
    except SystemExit as ended:
        print("ENDED", name, ended.code, file=sys.stderr)
"""


@needs_full
def test_every_command_tells_of_a_full_disk_behind_stdout(folder: Path) -> None:
    assert set(PRINTING) == set(MAIN_COMMANDS)
    np.savez(folder / "data.npz", x=np.random.default_rng(0).normal(size=(8, 4, 6, 6)).astype(np.float32))
    command = [sys.executable, "-c", EVERY, repr(PRINTING)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    ended = [line.split()[1:] for line in done.stderr.splitlines() if line.startswith("ENDED")]
    assert ended == [[name, "2"] for name in PRINTING], done.stderr
    assert done.stderr.count("printed: No space left on device") == len(PRINTING)
    # What was measured is kept for the next run, whatever becomes of the result.
    assert sorted(os.listdir(folder)) == ["data.npz", "net.onnx", "net.sensitivity.jsonl"]


LONG = "a" * 300 + ".onnx"
PLACES = {
    "a folder": (3, (".",), "not the name of a file"),
    "the root": (3, ("/",), "not the name of a file"),
    "nothing": (3, ("",), "not the name of a file"),
    "a long name": (2, (LONG,), "File name too long"),
    "a long name, named output": (3, (LONG, "-o", "out.onnx"), "File name too long"),
    "output a folder": (2, ("net.onnx", "-o", "."), "is a folder"),
    "output the root": (2, ("net.onnx", "-o", "/"), "is a folder"),
    "output nothing": (2, ("net.onnx", "-o", ""), "is a folder"),
    "output a long name": (2, ("net.onnx", "-o", LONG), "File name too long"),
    "output stdout": (2, ("net.onnx", "-o", "-"), "only --json can be written to stdout"),
    "plan to stdout": (2, ("net.onnx", "--plan-out", "-"), "only --json can be written to stdout"),
    "output of no folder": (2, ("net.onnx", "-o", "no/out.onnx"), "does not exist"),
    "output no text": (2, ("net.onnx", "-o", os.fsdecode(b"\xff.onnx")), "only paths that are UTF-8"),
    "JSON of a long name": (2, ("net.onnx", "--json", LONG), "File name too long"),
}


@pytest.mark.parametrize("name", PLACES)
def test_places_that_are_none_are_said_in_one_sentence(folder: Path, name: str) -> None:
    code, arguments, reason = PLACES[name]
    assert reason in refused(code, "prune", *arguments)
    assert os.listdir(folder) == ["net.onnx"]


def test_a_name_of_255_bytes_can_be_written(folder: Path) -> None:
    name = "a" * 250 + ".onnx"
    assert run("prune", "net.onnx", "-o", name, "-q", "--json", "b" * 255).exit_code == 0
    assert sorted(os.listdir(folder)) == [name, "b" * 255, "net.onnx"]


def test_no_room_for_temporary_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scratch.tempfile, "TemporaryDirectory", full)
    assert "set TMPDIR" in refused(2, *COMMANDS["prune"])
    assert os.listdir(folder) == ["net.onnx"]


@pytest.mark.parametrize("flag", ["--include", "--exclude", "--layer-ratio"])
@pytest.mark.parametrize("command", ["prune", "inspect", "sensitivity", "unify"])
def test_patterns_that_match_nothing_name_what_is_near(folder: Path, command: str, flag: str) -> None:
    if flag == "--layer-ratio" and command != "prune":
        pytest.skip("the command has no such flag")
    glob = "Relu_9*" if command != "unify" else "hea"
    value = f"{glob}=0.5" if flag == "--layer-ratio" else glob
    found = refused(2, command, "net.onnx", flag, value)
    assert f"{glob!r} matches no" in found
    assert "the nearest are '" in found


def test_a_pattern_that_matches_what_stays_anyway_is_none_of_that(folder: Path) -> None:
    assert run("prune", "net.onnx", "-q", "--exclude", "head").exit_code == 0


def test_gates_hold_in_python(folder: Path) -> None:
    with pytest.raises(GateMissed, match="max_size allows") as missed:
        compressor.prune("net.onnx", ratio=0.5, round_to=1, max_size="1kB")
    assert isinstance(missed.value.result.model, ir.Model)
    assert compressor.prune("net.onnx", ratio=0.5, round_to=1, max_size="1MB").report.output is not None
    with pytest.raises(GateMissed):
        compressor.prune(in_memory(between("b = Relu(a)")), ratio=0.5, round_to=1, max_size=0.1)


def test_nothing_is_saved_over_its_source(folder: Path) -> None:
    before = (folder / "net.onnx").read_bytes()
    loaded = compressor.load("net.onnx")
    pruned = [compressor.prune(model, ratio=0.5).model for model in ("net.onnx", loaded)]
    for one in (loaded, loaded.clone(), *pruned):
        with pytest.raises(UsageError, match="never overwritten"):
            compressor.save(one, "net.onnx")
    assert (folder / "net.onnx").read_bytes() == before
    compressor.save(loaded, "copy.onnx")
