"""No command opens a network connection, nor leaves a trace of its use outside the files it was asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.cli.main import COMMANDS
from tests.models import between

RUN = """
import sys
from importlib.util import find_spec
from click.testing import CliRunner
from compressor.cli.main import compress
COMMANDS = '''prune net.onnx -o small.onnx --ratio 0.5
clean net.onnx
inspect net.onnx
diff net.onnx small.onnx
verify net.onnx net.clean.onnx
bench net.onnx --runs 10 --seconds 0.01 --rounds 3
sensitivity net.onnx --samples 8
unify net.onnx --block 1x4 --all-layers
quantize net.onnx --samples 4
robustness net.onnx small.onnx --samples 8
run recipe.yaml
finetune net.onnx --teacher net.onnx --data data.npz --epochs 1 --batch-size 3 --val-share 0'''
lines = [line for line in COMMANDS.splitlines() if line.split()[0] != "finetune" or find_spec("torch") is not None]
for line in lines:
    result = CliRunner().invoke(compress, [*line.split(), "-q"])
    if result.exit_code:
        sys.exit(f"{line}: {result.output}{result.exception!r}")
if "onnxruntime" not in sys.modules:
    sys.exit("nothing ran")
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    onnx.save(between("b = Relu(a)"), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((9, 4, 6, 6), np.float32))
    (tmp_path / "recipe.yaml").write_text("model: net.onnx\noutput: made.onnx\nstages:\n  clean:\n")
    return tmp_path


def test_no_command_is_left_out() -> None:
    (lines,) = re.findall(r"COMMANDS = '''(.*?)'''", RUN, re.DOTALL)
    assert {line.split()[0] for line in lines.splitlines()} == set(COMMANDS)


def environment(home: Path) -> dict[str, str]:
    """One in which nothing was switched off, and nothing looks like a machine that builds software."""
    keep = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
    found = {name: value for name, value in os.environ.items() if name in keep}
    return {**found, "HOME": str(home / "home"), "XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1"}


def test_no_command_speaks_to_the_network(home: Path) -> None:
    trace = home / "trace"
    tool = shutil.which("strace")
    traced = [tool, "-f", "--seccomp-bpf", "-qq", "-e", "trace=network", "-o", str(trace)] if tool else []
    command = [*traced, sys.executable, "-c", RUN]
    done = subprocess.run(command, cwd=home, env=environment(home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [path for folder in ("home", "cache") for path in (home / folder).rglob("*") if path.is_file()]
    assert [path for path in made if "onnx-compressor" not in str(path)] == []
    if tool:
        assert re.findall(r".*AF_INET.*", trace.read_text()) == []
