"""Places that a command may write to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import onnx
import pytest
from click.testing import CliRunner

from compressor.cli.main import compress
from compressor.cli.paths import check_destinations, settled
from tests.models import model

NET = (
    "(float[N,3] x) => (float[N,2] y) <float[3,40] w, float[40,2] v> { h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) }"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a model whose weights lie in ``net.data``."""
    monkeypatch.chdir(tmp_path)
    onnx.save(model(NET), "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    return tmp_path


@pytest.mark.parametrize("flag", ["--json", "--plan-out"])
@pytest.mark.parametrize("place", ["net.data", "./net.data", "out.onnx.data"])
def test_weights_are_never_written_over(folder: Path, flag: str, place: str) -> None:
    before = (folder / "net.data").read_bytes()
    words = ["prune", "net.onnx", "-o", "out.onnx", "--external-data", "--recover", "none", flag, place]
    result = CliRunner().invoke(compress, words)
    assert result.exit_code == 2
    assert "weights" in result.stderr
    assert "name another file" in result.stderr
    assert sorted(file.name for file in folder.iterdir()) == ["net.data", "net.onnx"]
    assert (folder / "net.data").read_bytes() == before


def writing(folder: Path, work: Callable[[], None]) -> None:
    """Works as a command does that writes ``out.onnx``."""
    with click.Context(compress) as context, settled(context, {0}):
        check_destinations([folder / "net.onnx"], {"--output": folder / "out.onnx"})
        work()


@pytest.mark.parametrize("name", ["out.onnx.data", "out.onnx-00002-of-00003.data"])
def test_weights_of_a_command_that_fails_are_taken_back(folder: Path, name: str) -> None:
    old, new = folder / "out.onnx-00001-of-00001.data", folder / name
    old.write_bytes(b"of the user")

    def fail() -> None:
        new.write_bytes(b"weights")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writing(folder, fail)
    assert sorted(path.name for path in folder.iterdir()) == ["net.data", "net.onnx", old.name]


def test_a_file_that_cannot_be_put_back_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out.onnx"
    out.write_bytes(b"of the user")

    def fail() -> None:
        out.unlink()
        out.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writing(folder, fail)
    kept = Path(capsys.readouterr().err.strip().rpartition("it is kept in ")[2])
    assert kept.read_bytes() == b"of the user"


def test_what_is_written_beside_the_result_is_named(folder: Path) -> None:
    words = ["prune", "net.onnx", "--recover", "none", "--json", "a.json", "--plan-out", "p.json", "--card", "c.md"]
    told = CliRunner().invoke(compress, words).stdout.splitlines()
    assert told[-3:] == ["Wrote p.json", "Wrote c.md", "Wrote a.json"]
    assert CliRunner().invoke(compress, [*words, "-q"]).stdout == ""
    assert "Wrote" not in CliRunner().invoke(compress, ["inspect", "net.onnx"]).stdout


def test_another_file_beside_the_model_is_written_over(folder: Path) -> None:
    (folder / "old.json").write_text("{}")
    assert CliRunner().invoke(compress, ["inspect", "net.onnx", "--json", "old.json"]).exit_code == 0
    assert (folder / "old.json").read_text() != "{}"
