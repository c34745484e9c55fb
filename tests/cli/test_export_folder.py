"""Folders in, folders out: the model is replaced, everything else is there again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result

from compressor.cli.main import compress
from tests.models import model

NET = """(float[n,6] x) => (float[n,3] y) <float[6,40] up, float[40,3] down> {
    h = MatMul(x, up)
    r = Relu(h)
    y = MatMul(r, down)
}"""
FEW = ("--ratio", "0.5", "--round-to", "1", "--recover", "none", "--scope", "local")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "bert"
    (folder / "onnx").mkdir(parents=True)
    onnx.save(model(NET), str(folder / "onnx" / "model.onnx"))
    sizes = {"intermediate_size": 40, "hidden_size": 6, "num_labels": 3, "tie": True}
    (folder / "config.json").write_text(json.dumps(sizes))
    (folder / "vocab.txt").write_text("a b")
    return folder


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(compress, [str(argument) for argument in arguments])


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_folder_is_copied_around_the_new_model(export: Path) -> None:
    before = {name: (export / name).read_bytes() for name in files_in(export)}
    done = run("prune", export, *FEW)
    assert done.exit_code == 0, done.output
    target = export.with_name("bert.pruned")
    assert files_in(target) == list(before)
    assert (target / "vocab.txt").read_text() == "a b"
    assert (target / "onnx" / "model.onnx").stat().st_size < len(before["onnx/model.onnx"])
    config = json.loads((target / "config.json").read_text())
    assert config["intermediate_size"] == 40, "what the config says stays; what differs stands beside it"
    assert config["onnx_compressor"] == {"model": "onnx/model.onnx", "sizes": {"intermediate_size": [20]}}
    assert "config.json says intermediate_size 40, of which the model has 20 now" in done.output
    assert {name: (export / name).read_bytes() for name in files_in(export)} == before


def test_a_command_that_changes_no_size_leaves_the_config(export: Path, tmp_path: Path) -> None:
    done = run("clean", export, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "config.json").read_bytes() == (export / "config.json").read_bytes()


@pytest.mark.parametrize(("more", "code"), [(("--dry-run",), 0), (("--max-size", "1%"), 6), (("--include", "no*"), 2)])
def test_there_is_a_folder_where_there_is_a_model(export: Path, more: tuple[str, ...], code: int) -> None:
    assert run("prune", export, *FEW, *more).exit_code == code
    target = export.with_name("bert.pruned")
    assert target.exists() == (code == 6)
    if code == 6:
        assert "vocab.txt" in files_in(target)


def test_what_is_no_such_folder_is_a_sentence(export: Path, tmp_path: Path) -> None:
    inside = run("clean", export, "-o", export / "out")
    assert (inside.exit_code, "lies in" in inside.output) == (2, True)
    used = run("clean", export, "-o", tmp_path)
    assert (used.exit_code, "is there already; name a folder that is new or empty" in used.output) == (2, True)
    onnx.save(model(NET), str(export / "second.onnx"))
    several = run("clean", export)
    assert "holds 2 models (onnx/model.onnx, second.onnx); name the file that is meant" in several.output
    empty = tmp_path / "none"
    empty.mkdir()
    assert run("clean", empty).exit_code == 3, "a folder like any other"
    (empty / "config.json").write_text("{}")
    assert "holds no .onnx file" in run("clean", empty).output
