"""Start-up, help and signals, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from compressor.cli.main import COMMANDS
from compressor.cli.options import flag
from compressor.config import PruneSettings
from compressor.errors import CompressorError
from tests.commands.file_case import good

HEAVY = ("onnx", "onnx_ir", "onnxruntime", "onnxscript", "torch", "numpy")


def python(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )


LONG = ("prune", "unify", "finetune", "sensitivity")
HELP = [["--help"], *([name, "--help"] for name in COMMANDS), *([name, "--help-all"] for name in LONG)]
"""Requests for help; the one that is for no command comes first."""
HELPED = """
import contextlib, io, json, sys
from compressor.cli.main import compress_entry
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["onnx-compress", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            compress_entry()
        except SystemExit as ended:
            code = ended.code
    print(json.dumps([code, out.getvalue(), list(sys.modules)]))
"""


class Help(NamedTuple):
    """What a request for help ended with, what it printed in a terminal of 80 columns, and what is loaded by then."""

    code: int
    stdout: str
    loaded: list[str]


@cache
def _helped() -> dict[str, Help]:
    done = python("-c", HELPED, json.dumps(HELP), env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, done.stdout.splitlines())
    return {" ".join(arguments): Help(*line) for arguments, line in zip(HELP, lines, strict=True)}


def told(*arguments: str) -> Help:
    """A request for help. One process answers all of them, one after the other."""
    return _helped()[" ".join(arguments)]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    done = told(*arguments)
    assert done.code == 0
    assert "compressor.cli.main" in done.loaded
    assert set(done.loaded).isdisjoint(HEAVY)


def test_a_command_is_imported_only_when_used():
    assert {entry.module for entry in COMMANDS.values()}.isdisjoint(told("--help").loaded)


@pytest.mark.parametrize("name", LONG)
def test_help_is_short_and_all_of_it_is_one_flag_away(name):
    short, whole = (told(name, flag).stdout for flag in ("--help", "--help-all"))
    assert "--help-all" in short
    assert len(short.splitlines()) < 100
    assert len(whole.splitlines()) > 1.5 * len(short.splitlines())


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_fits_80_columns_and_names_the_exit_codes(arguments):
    text = told(*arguments).stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "Examples:" in text
    listed = text[text.index("Exit codes:") :]
    codes = {CompressorError.exit_code, *(child.exit_code for child in descendants(CompressorError))}
    assert all(f" {code} " in listed for code in codes)


def descendants(kind: type) -> list[type]:
    return [found for child in kind.__subclasses__() for found in (child, *descendants(child))]


def test_every_setting_has_its_flag_in_the_help():
    text = told("prune", "--help-all").stdout
    for field in PruneSettings.model_fields:
        assert flag(PruneSettings, field) in text
    assert "Default: consumers" in " ".join(text.split())
    assert "default: 0.9" in " ".join(text.split())
    assert "at least 0 and below 1" in " ".join(text.split())


def program(body: str) -> list[str]:
    """A process in which the pipeline is replaced by `body`, which defines ``prune_file``."""
    head = """
        import os, signal, sys, time, types
        import compressor.commands
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a run in the background ignores
        fake = types.ModuleType("compressor.commands.prune_file")
        sys.modules["compressor.commands.prune_file"] = compressor.commands.prune_file = fake
    """
    tail = """
        fake.prune_file = prune_file
        from compressor.cli.main import prune_entry
        prune_entry()
    """
    return ["-c", "\n".join(textwrap.dedent(part) for part in (head, body, tail))]


def test_onnx_prune_is_the_prune_command():
    done = python(*program("prune_file = None"), "--help")
    assert done.returncode == 0
    assert "onnx-prune [OPTIONS] IN" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_unwind_and_set_the_exit_code(tmp_path, number, code):
    body = f"""
        import atexit
        def prune_file(source, output, *rest, **options):
            atexit.register(print, "what takes seconds at exit")
            try:
                os.kill(os.getpid(), {int(number)})
                time.sleep(30)
            finally:
                print("unwound")
    """
    done = python(*program(body), str(tmp_path / "net.onnx"))
    assert done.returncode == code, done.stderr
    assert done.stdout == "unwound\n"
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
@pytest.mark.parametrize("extra", [[], ["--json", "-", "-q"]])
def test_a_reader_that_leaves_causes_no_noise(tmp_path, extra):
    body = """
        from compressor.commands import prune_report
        from compressor.results import *
        prune_report.with_layers = lambda source, result, settings, timed: result.report
        def prune_file(source, output, settings, **options):
            stats = ModelStats(path=source, bytes=1, params=1, macs=1, nodes=1, opset=18)
            rows = [GroupRow(name=f"group{n}", channels=8, removed=1, axes=[]) for n in range(200)]
            return types.SimpleNamespace(report=Report(input=stats, output=stats, groups=rows))
    """
    command = [sys.executable, *program(body), str(tmp_path / "net.onnx"), "-v", *extra]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read().decode()
        assert process.wait(timeout=60) == 141
    assert errors == ""


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("flags", "shown"), [([], True), (["-q"], False), (["--no-progress"], False)])
def test_progress_is_shown_in_a_terminal_only_when_wanted(tmp_path, flags, shown):
    pty = pytest.importorskip("pty")
    body = """
        from compressor.results import *
        def prune_file(source, output, settings, *, progress, **options):
            if progress is not None:
                progress("proving [x]")
                time.sleep(0.3)
            stats = ModelStats(path=source, bytes=1, params=1, macs=1, nodes=1, opset=18)
            return types.SimpleNamespace(report=Report(input=stats, output=stats))
    """
    ours, theirs = pty.openpty()
    command = [sys.executable, *program(body), str(tmp_path / "net.onnx"), *flags]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        check=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:
        pass  # the other side of a pseudo-terminal is closed
    os.close(ours)
    assert (b"proving [x]" in seen) is shown
    assert b"proving" not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "Interrupted"), (signal.SIGTERM, "Terminated")])
def test_an_interrupt_names_the_checkpoint_and_what_resumes(tmp_path, number, word):
    body = f"""
        import pathlib
        def prune_file(source, output, *rest, **options):
            folder = output.with_name(output.name + ".checkpoint")
            folder.mkdir()
            (folder / "state.safetensors").write_bytes(b"")
            os.kill(os.getpid(), {int(number)})
            time.sleep(30)
    """
    net = tmp_path / "a net.onnx"
    done = python(*program(body), str(net), "--recover", "finetune", "--data", "x.npz", "--epochs", "3")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{word}. The checkpoint is in {tmp_path}/a net.pruned.onnx.checkpoint; go on with: ")
    assert last.endswith(f" '{net}' --recover finetune --data x.npz --epochs 3 --resume")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_second_interrupt_ends_at_once(tmp_path):
    body = """
        def prune_file(*rest, **options):
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(30)
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(30)
                print("still here", flush=True)
    """
    done = python(*program(body), str(tmp_path / "net.onnx"))
    assert done.returncode == 130
    assert done.stdout == ""


def complete(words: str) -> list[str]:
    text = f"onnx-compress {words}"
    more = {"_ONNX_COMPRESS_COMPLETE": "bash_complete", "COMP_WORDS": text, "COMP_CWORD": str(len(words.split()))}
    program = ["-c", "from compressor.cli.main import compress_entry; compress_entry()"]
    done = python(*program, env={**os.environ, **more})
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_shells_complete_commands_options_and_values():
    assert complete("ver") == ["verify"]
    assert "--target-macs" in complete("prune --target")
    assert complete("prune --scope l") == ["loss", "local"]
    assert "lstsq" in complete("prune --recover l")


def test_unknown_command_is_suggested(run):
    result = run("prnue", "x.onnx")
    assert result.exit_code == 2
    assert "Did you mean 'prune'?" in result.stderr


CRASH = """
import signal
from compressor.cli.main import compress_entry
from compressor.runtime import sessions
sessions.ort.InferenceSession = lambda *_, **__: signal.raise_signal(signal.SIGSEGV)
compress_entry()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_crash_of_the_runtime_says_where_and_leaves_no_file(tmp_path: Path) -> None:
    source, output = good(tmp_path), tmp_path / "out.onnx"
    done = python("-c", CRASH, "prune", str(source), "-o", str(output), "--recover", "none")
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr
    assert "in start_session" in done.stderr
    assert not output.exists()
