"""What README.md and examples/ show is what a run gives: commands, Python and their output."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import compressor
from tests import programs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROGRAMS = {"onnx-prune": ["-m", "compressor", "prune"], "onnx-compress": ["-m", "compressor"], "python": []}
SOURCE = "models/digits-resnet.onnx"
ACCURACIES = re.findall(r"^\| `(--[^`]*)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)% \|$", README, re.MULTILINE)
VARIES = (r"\d\.\de-\d\d", r"\(\d+\.\d s\)", r"\d+\.\d%", r"\b\d\.\d{3,4}\b")
"""What differs from machine to machine: rounding errors, seconds, and what was measured after recovery."""


class Clone:
    """A folder with the example models, as in a clone, where each command is run once."""

    def __init__(self, folder: Path, interpreter: ProcessPoolExecutor) -> None:
        self.folder, self._interpreter = folder, interpreter
        self._printed: dict[str, str] = {}
        shutil.copytree(ROOT / "models", folder / "models")

    def printed(self, line: str) -> str:
        """Stdout of a command of README.md that succeeds, at 80 columns."""
        if line not in self._printed:
            program, *arguments = shlex.split(line)
            self._printed[line] = self.output_of([*PROGRAMS[program], *arguments])
            # The next command may write to the same place.
            if (written := self.folder / SOURCE.replace(".onnx", ".pruned.onnx")).exists():
                written.replace(self._kept(line))
        return self._printed[line]

    def written(self, line: str) -> Path:
        """The model that ``onnx-prune`` wrote by such a command."""
        self.printed(line)
        return self._kept(line)

    def _kept(self, line: str) -> Path:
        return self.folder / f"{list(self._printed).index(line)}.onnx"

    def output_of(self, arguments: list[str]) -> str:
        """What ``python ARGUMENTS`` prints, which succeeds."""
        done = self._interpreter.submit(programs.run, arguments, self.folder).result(timeout=600)
        assert done.code == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    with programs.interpreter() as pool:
        yield Clone(tmp_path_factory.mktemp("clone"), pool)


def comparable(text: str) -> list[str]:
    """Lines without trailing blanks and without what varies."""
    for pattern in VARIES:
        text = re.sub(pattern, "*", text)
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("language", ["console", "python"])
def test_readme_has_such_blocks(language: str) -> None:
    assert any(found == language for found, _ in BLOCKS)


def test_readme_commands_print_what_it_says(clone: Clone) -> None:
    for block in (text for language, text in BLOCKS if language == "console"):
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, expected = shown.partition("\n")
            printed = clone.printed(line)
            assert comparable(printed) == comparable(expected), f"README.md shows something else for: {line}"


@pytest.mark.slow
def test_readme_unifies_as_far_as_it_says(clone: Clone) -> None:
    pytest.importorskip("torch")
    line = next(text for language, text in BLOCKS if language == "sh" and text.startswith("onnx-compress unify"))
    shown = next(text for language, text in BLOCKS if language == "text" and ".unified.onnx" in text)
    printed = clone.printed(line.strip())
    times, accuracy = r"([\d.]+) times smaller", r"Top-1 accuracy [\d.]+% -> ([\d.]+)%"
    for pattern, slack in ((times, 0.2), (accuracy, 1.0)):
        found, said = (float(re.findall(pattern, " ".join(text.split()))[0]) for text in (printed, shown))
        assert found > said - slack


def test_readme_python_prints_what_it_says(clone: Clone) -> None:
    for (language, code), (_, expected) in pairwise(BLOCKS):
        if language == "python":
            printed = clone.output_of(["-c", code])
            assert comparable(printed) == comparable(expected)


def test_readme_has_accuracies() -> None:
    assert len(ACCURACIES) >= 4


def with_data_slow(rows: list[tuple[str, ...]]) -> list[Any]:
    """Rows that train on data take ten seconds each, and are slow: one such run is shown, with its accuracy."""
    return [pytest.param(*row, marks=pytest.mark.slow) if "--data" in row[0] else row for row in rows]


@pytest.mark.parametrize(("options", "macs", "params", "accuracy"), with_data_slow(ACCURACIES))
def test_readme_accuracy_is_measured(options: str, macs: str, params: str, accuracy: str, clone: Clone) -> None:
    written = clone.written(f"onnx-prune {SOURCE} {options}")
    before, after = (compressor.inspect(path).input for path in (ROOT / SOURCE, written))
    assert [f"{after.macs / before.macs:.2f}", f"{after.params / before.params:.2f}"] == [macs, params]
    assert measured(written) == pytest.approx(float(accuracy), abs=1)  # other machines round otherwise


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
        ("prune_one_file.py", r"MACs +5,393,664 -> +4,3\d\d,\d{3}\n.*masked original: \d"),
        ("why_frozen.py", r"544 channels can go.*512 channels can go.*is an output of the model \(relu_2\)"),
        ("target_and_replay.py", r"MACs left: 79\.9%.*replayed: the same weights"),
        ("from_pytorch.py", r"PruneResult: file .*proof passed.*bytes written"),
    ],
)
def test_example(script: str, expected: str, tmp_path: Path, clone: Clone) -> None:
    printed = clone.output_of([str(ROOT / "examples" / script), str(tmp_path)])
    assert re.search(expected, printed, re.DOTALL), printed


def test_every_example_is_tested() -> None:
    assert len(list((ROOT / "examples").glob("*.py"))) == 4


def test_walk_through_of_a_new_operator(tmp_path: Path) -> None:
    """docs/adding-an-operator.md quotes what stands in the code; without its record the tests fail, and without a fact
    of the record one of them does."""
    for folder in ("compressor", "tests"):
        # With what is compiled already, but for files that somebody is just writing.
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.pyc.*"))
    page = (ROOT / "docs" / "adding-an-operator.md").read_text(encoding="utf-8")
    cases, function, record, transpose = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    tests, source = tmp_path / "tests/operators/test_conv.py", tmp_path / "compressor/operators/conv.py"
    whole = source.read_text(encoding="utf-8")
    assert cases in tests.read_text(encoding="utf-8")
    assert function in whole
    assert record in whole
    assert transpose in (tmp_path / "compressor/operators/movement.py").read_text(encoding="utf-8")
    source.write_text(whole.replace(record, ""), encoding="utf-8")
    assert "8 failed" in run_cases(tmp_path)
    fact = '        sizes={"g": "group", "q": "offset_group"},\n'
    assert fact in record
    source.write_text(whole.replace(record, record.replace(fact, "")), encoding="utf-8")
    assert "3 failed, 5 passed" in run_cases(tmp_path)


def run_cases(folder: Path) -> str:
    options = ["-q", "-p", "no:cacheprovider", "-k", "DeformConv"]
    command = [sys.executable, "-m", "pytest", *options, "tests/operators/test_conv.py"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout
