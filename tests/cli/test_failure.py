"""A command that fails says why as JSON, where its report would have been."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result

from compressor.cli.main import COMMANDS, compress
from compressor.commands import inspect as inspecting
from compressor.results.failure import Failure
from tests.models import between


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(between("b = Relu(a)"), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(compress, words)


def told(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    assert found.keys() == Failure.model_json_schema(by_alias=True)["properties"].keys()
    assert found["schema"] == "onnx-compressor.error/1"
    return found


def missing(name: str) -> tuple[str, ...]:
    """A command line whose model, or recipe, is not there."""
    more = {"finetune": ("--teacher", "net.onnx", "--data", "data.npz"), "diff": ("net.onnx",), "verify": ("net.onnx",)}
    return (name, "none", *more.get(name, ("net.onnx",) if name == "robustness" else ()))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("folder")
def test_every_command_tells_why_it_failed(name: str) -> None:
    for words in (missing(name), (name, "net.onnx", "--no-such-option")):
        shown = run(*words, "--json", "-")
        assert shown.exit_code in (2, 3), shown.output
        found = told(shown.stdout)
        assert found["exit_code"] == shown.exit_code
        assert found["command"].endswith(name)
        assert found["message"] in shown.stderr
        kept = run(*words, "--json", "why.json")
        assert kept.stdout == ""
        assert told(Path("why.json").read_text(encoding="utf-8")) == found


def test_fact_and_remedy(folder: Path) -> None:
    found = told(run("prune", "net.onnx", "--target-macs", "0.0001", "--json", "-", "-q").stdout)
    assert (found["kind"], found["exit_code"]) == ("TargetOutOfReach", 4)
    assert found["message"].endswith(f"; {found['remedy']}")
    assert sorted(path.name for path in folder.iterdir()) == ["net.onnx"]


@pytest.mark.usefixtures("folder")
def test_a_setting_of_the_environment_that_is_wrong_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_COMPRESSOR_INSPECT_RATO", "1")
    shown = CliRunner().invoke(compress, ["inspect", "net.onnx", "--json=-"], auto_envvar_prefix="ONNX_COMPRESSOR")
    assert told(shown.stdout)["exit_code"] == shown.exit_code == 2


def test_only_a_report_of_ours_is_replaced(folder: Path) -> None:
    for old, replaced in (('{"schema": "onnx-compressor.report/1"}', True), ('{"mine": 1}', False), ("\xff", False)):
        (folder / "why.json").write_bytes(old.encode("latin-1"))
        assert run("inspect", "none", "--json", "why.json").exit_code == 3
        assert ((folder / "why.json").read_bytes() != old.encode("latin-1")) is replaced
    model = (folder / "net.onnx").read_bytes()
    assert run("prune", "net.onnx", "--ratio", "3", "--json", "net.onnx").exit_code == 2
    assert (folder / "net.onnx").read_bytes() == model


@pytest.mark.usefixtures("folder")
def test_where_there_is_a_report_it_is_all() -> None:
    shown = run("prune", "net.onnx", "-o", "out.onnx", "--max-size", "1kB", "--json", "-", "-q")
    assert shown.exit_code == 6
    assert json.loads(shown.stdout)["schema"] == "onnx-compressor.report/1"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("raised", "kind", "code"),
    [
        (KeyboardInterrupt(), "Interrupted", 130),
        (SystemExit(128 + signal.SIGTERM), "Terminated", 143),
        (MemoryError("x"), "OutOfMemory", 8),
        (ZeroDivisionError("x"), "ZeroDivisionError", 1),
    ],
)
def test_what_is_no_error_of_ours(raised: BaseException, kind: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise raised

    monkeypatch.setattr(inspecting, "inspect_file", fails)
    shown = run("inspect", "net.onnx", "--json", "-")
    found = told(shown.stdout)
    assert (found["kind"], found["exit_code"], shown.exit_code) == (kind, code, code)


@pytest.mark.usefixtures("folder")
def test_help_and_nobody_who_asked() -> None:
    assert run("inspect", "none").stdout == ""
    assert run("prune", "--help", "--json", "-").stdout.startswith("Usage")


@pytest.mark.usefixtures("folder")
def test_json_is_the_same_with_a_page_and_without_but_for_times() -> None:
    words = ("prune", "net.onnx", "-o", "out.onnx", "-q", "--json", "-")
    plain, paged = (json.loads(run(*words, *more).stdout) for more in ((), ("--report", "page.html")))
    assert plain["environment"] == paged["environment"]
    assert plain["layers"]
    assert all(row["ms_noise"] > 0 for row in paged["layers"])
    untimed = dict.fromkeys(("ms_before", "ms_after", "ms_noise"))
    assert plain["layers"] == [row | untimed for row in paged["layers"]]
