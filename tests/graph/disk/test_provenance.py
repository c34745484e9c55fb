"""A file says which commands wrote it, the same on every run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

import compressor
from compressor.cli.main import compress
from compressor.config import PruneSettings
from compressor.graph.disk import provenance
from tests.models import between, in_memory


@pytest.fixture
def net(tmp_path: Path) -> Path:
    onnx.save(between("b = Relu(a)"), str(tmp_path / "net.onnx"))
    return tmp_path / "net.onnx"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(compress, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_commands_add_a_step_each_and_bytes_are_the_same(net, tmp_path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        small = tmp_path / folder / "small.onnx"
        run("prune", net, "-o", small, "-q", "--ratio", 0.5, "--round-to", 1)
        run("clean", small, "-o", tmp_path / folder / "tidy.onnx", "-q", "--card", tmp_path / folder / "card.md")
    for name in ("small.onnx", "tidy.onnx", "card.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    first, second = provenance.provenance_steps(compressor.load(tmp_path / "one" / "tidy.onnx"))
    assert [first["command"], second["command"]] == ["prune", "clean"]
    assert first["input_sha256"] == hashlib.sha256(net.read_bytes()).hexdigest()
    assert second["input_sha256"] == hashlib.sha256(small.read_bytes()).hexdigest()
    assert json.loads(first["settings"]) == {"ratio": 0.5, "round_to": 1}
    assert first["proof"] == "passed, full, within 0.0001 on 1 input sizes, cpu"
    assert str(tmp_path) not in (tmp_path / "one" / "card.md").read_text(encoding="utf-8")


def test_inspect_shows_them_as_text_and_json(net, tmp_path) -> None:
    run("prune", net, "-o", tmp_path / "small.onnx", "-q", "--round-to", 1)
    shown = run("inspect", tmp_path / "small.onnx", "-v")
    assert "Step 1: onnx-compressor " in shown
    assert "plan_sha256: " in shown
    report = json.loads(run("inspect", tmp_path / "small.onnx", "--json", "-", "-q"))
    assert list(report["provenance"][0])[:2] == ["tool", "command"]
    assert json.loads(run("inspect", net, "--json", "-", "-q"))["provenance"] == []


def test_python_stamps_what_it_returns(net) -> None:
    kept = {}
    for given in (net, net.read_bytes(), in_memory(between("b = Relu(a)"))):
        (step,) = provenance.provenance_steps(compressor.prune(given, round_to=1).model)
        kept[type(given).__name__] = step
    assert kept["bytes"] == kept["PosixPath"]
    assert "input_sha256" not in kept["Model"]


def test_settings_count_in_the_hash_and_places_do_not() -> None:
    def digest(**settings: object) -> str:
        model = in_memory(between("b = Relu(a)"))
        provenance.stamp_provenance(model, "prune", PruneSettings.parse(settings), None, {})
        return provenance.provenance_steps(model)[0]["settings_sha256"]

    plain = digest()
    trained = {"recover": "finetune", "metrics": "m.jsonl", "checkpoint": "c"}
    assert digest(data="here.npz", **trained) == digest(data="there.npz", recover="finetune")
    assert digest(round_to=4) != plain
    assert digest(recover="bias") != plain


def test_foreign_metadata_stays_and_is_not_ours(net, tmp_path) -> None:
    proto = onnx.load(str(net))
    for key in ("author", "onnx_compressor.x.y", "onnx_compressor.1.Bad", "onnx_compressor.1.tool"):
        proto.metadata_props.add(key=key, value="mine\x1b[31m" * 3)
    onnx.save(proto, str(net))
    run("prune", net, "-o", tmp_path / "small.onnx", "-q", "--round-to", 1)
    found = provenance.provenance_steps(compressor.load(tmp_path / "small.onnx"))
    assert [step.get("command") for step in found] == [None, "prune"]
    assert "\x1b" not in run("inspect", tmp_path / "small.onnx", "-v")
    assert {p.key: p.value for p in onnx.load(str(tmp_path / "small.onnx")).metadata_props}["author"].startswith("mine")
