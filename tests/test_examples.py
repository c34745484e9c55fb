"""What README.md and examples/ show is what a run gives: commands, Python and their output."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from compressor.cli.main import compress

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROGRAMS = {
    "onnx-prune": [sys.executable, "-m", "compressor", "prune"],
    "onnx-compress": [sys.executable, "-m", "compressor"],
    "python": [sys.executable],
}
ACCURACIES = re.findall(r"^\| `(--[^`]*)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)% \|$", README, re.MULTILINE)
VARIES = (r"\d\.\de-\d\d", r"\(\d+\.\d s\)", r"\d+\.\d%", r"\b\d\.\d{3}\b")
"""What differs from machine to machine: rounding errors, seconds, and what was measured after recovery."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the example models, as in a clone."""
    shutil.copytree(ROOT / "models", tmp_path / "models")
    return tmp_path


def output_of(command: list[str], folder: Path) -> str:
    """Stdout of a command that succeeds, at 80 columns."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def comparable(text: str) -> list[str]:
    """Lines without trailing blanks and without what varies."""
    for pattern in VARIES:
        text = re.sub(pattern, "*", text)
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("language", ["console", "python"])
def test_readme_has_such_blocks(language: str) -> None:
    assert any(found == language for found, _ in BLOCKS)


def test_readme_commands_print_what_it_says(clone: Path) -> None:
    for block in (text for language, text in BLOCKS if language == "console"):
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, expected = shown.partition("\n")
            program, *arguments = shlex.split(line)
            printed = output_of([*PROGRAMS[program], *arguments], clone)
            assert comparable(printed) == comparable(expected), f"README.md shows something else for: {line}"


@pytest.mark.slow
def test_readme_unifies_as_far_as_it_says(clone: Path) -> None:
    pytest.importorskip("torch")
    line = next(text for language, text in BLOCKS if language == "sh" and text.startswith("onnx-compress unify"))
    program, *arguments = shlex.split(line)
    shown = next(text for language, text in BLOCKS if language == "text" and ".unified.onnx" in text)
    printed = output_of([*PROGRAMS[program], *arguments], clone)
    times, accuracy = r"([\d.]+) times smaller", r"Top-1 accuracy [\d.]+% -> ([\d.]+)%"
    for pattern, slack in ((times, 0.2), (accuracy, 1.0)):
        found, said = (float(re.findall(pattern, " ".join(text.split()))[0]) for text in (printed, shown))
        assert found > said - slack


def test_readme_python_prints_what_it_says(clone: Path) -> None:
    for (language, code), (_, expected) in pairwise(BLOCKS):
        if language == "python":
            printed = output_of([sys.executable, "-c", code], clone)
            assert comparable(printed) == comparable(expected)


def test_readme_has_accuracies() -> None:
    assert len(ACCURACIES) >= 4


@pytest.mark.recovers
@pytest.mark.parametrize(("options", "macs", "params", "accuracy"), ACCURACIES)
def test_readme_accuracy_is_measured(options: str, macs: str, params: str, accuracy: str, tmp_path: Path) -> None:
    output, report = tmp_path / "out.onnx", tmp_path / "report.json"
    source = str(ROOT / "models" / "digits-resnet.onnx")
    command = ["prune", source, "-o", str(output), "-q", "--json", str(report), *options.split()]
    done = CliRunner().invoke(compress, command)
    assert done.exit_code == 0, done.output
    sizes = json.loads(report.read_text())
    left = [f"{sizes['output'][key] / sizes['input'][key]:.2f}" for key in ("macs", "params")]
    assert left == [macs, params]
    assert measured(output) == pytest.approx(float(accuracy), abs=1)  # other machines round otherwise


def measured(model: Path) -> float:
    """Accuracy in percent, by models/evaluate.py."""
    spec = spec_from_file_location("evaluate", ROOT / "models" / "evaluate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    x, y = module.load_data(ROOT / "models" / "digits-test.npz")
    return 100 * module.count_correct(model, x, y, 450) / len(y)


@pytest.mark.parametrize("name", ["run", "test"])
def test_readme_marks_the_command_that_ci_runs(name: str) -> None:
    assert re.search(rf"^<!-- setup:{name} -->\n```sh\n[^\n]+\n```$", README, re.MULTILINE)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("prune_one_file.py", r"MACs +5,393,664 -> +4,7\d\d,\d{3}\n.*masked original: \d"),
        ("why_frozen.py", r"544 channels can go.*512 channels can go.*is an output of the model \(relu_2\)"),
        ("target_and_replay.py", r"MACs left: 79\.9%.*replayed: the same weights"),
        ("from_pytorch.py", r"PruneResult: file .*proof passed.*bytes written"),
    ],
)
def test_example(script: str, expected: str, tmp_path: Path) -> None:
    printed = output_of([sys.executable, str(ROOT / "examples" / script), str(tmp_path)], tmp_path)
    assert re.search(expected, printed, re.DOTALL), printed


def test_every_example_is_tested() -> None:
    assert len(list((ROOT / "examples").glob("*.py"))) == 4


def test_walk_through_of_a_new_operator(tmp_path: Path) -> None:
    """docs/adding-an-operator.md quotes what stands in the code; without its record the tests fail, and without a fact
    of the record one of them does."""
    for folder in ("compressor", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "adding-an-operator.md").read_text(encoding="utf-8")
    cases, function, record, transpose = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    tests, source = tmp_path / "tests/operators/test_conv.py", tmp_path / "compressor/operators/conv.py"
    whole = source.read_text(encoding="utf-8")
    assert cases in tests.read_text(encoding="utf-8")
    assert function in whole
    assert record in whole
    assert transpose in (tmp_path / "compressor/operators/movement.py").read_text(encoding="utf-8")
    source.write_text(whole.replace(record, ""), encoding="utf-8")
    assert "7 failed" in run_cases(tmp_path)
    fact = '        sizes={"g": "group"},\n'
    assert fact in record
    source.write_text(whole.replace(record, record.replace(fact, "")), encoding="utf-8")
    assert "2 failed, 5 passed" in run_cases(tmp_path)


def run_cases(folder: Path) -> str:
    options = ["-q", "-p", "no:cacheprovider", "-k", "DeformConv"]
    command = [sys.executable, "-m", "pytest", *options, "tests/operators/test_conv.py"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout
