"""``onnx-compress sensitivity``: what is written, and exit codes."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from compressor.cli.main import compress
from tests.models import between


def invoke(*arguments: Any):
    old = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()
    return runner.invoke(compress, ["sensitivity", *(str(a) for a in arguments)])


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(between("b = Relu(a)"), str(path))
    return path


QUICK = ("--samples", "6", "--jobs", "1", "--ratios", "0.25,50%")


def test_report_and_measurements_lie_beside_the_model(net):
    done = invoke(net, *QUICK)
    assert done.exit_code == 0
    document = json.loads(net.with_name("net.sensitivity.json").read_text())
    assert document["synthetic"]["kinds"] == {"x": "image"}
    assert f"{document['measured']} measurements, 1 at a time" in done.stdout
    # Long paths are folded wherever they end.
    assert f"Wrote{net.with_name('net.sensitivity.json')}(" in "".join(done.stdout.split())
    assert len(net.with_name("net.sensitivity.jsonl").read_text().splitlines()) == document["measured"]
    again = invoke(net, *QUICK)
    assert "more were remembered from an earlier run" in again.stdout


def test_a_long_name_stands_whole(net):
    proto = onnx.load(str(net))
    name, long = proto.graph.initializer[0].name, "encoder.stages.2.blocks.11.attention.projection.dense.weight"
    proto.graph.initializer[0].name = long
    for node in proto.graph.node:
        node.input[:] = [long if value == name else value for value in node.input]
    onnx.save(proto, str(net))
    assert any(line.startswith(f"{long} ") for line in invoke(net, *QUICK).stdout.splitlines())


def test_json_on_stdout_and_a_page(net, tmp_path):
    done = invoke(net, *QUICK, "-o", tmp_path / "s.json", "--json", "-", "-q", "--plot", tmp_path / "s.html")
    assert json.loads(done.stdout) == json.loads((tmp_path / "s.json").read_text())
    assert "<h1><bdi>net.<wbr>onnx</bdi></h1>" in (tmp_path / "s.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--ratios", "0,0.5"), 2, "shares above 0 and below 1"),
        (("--ratios", "half"), 2, "--ratios: 'half' is not a list of shares"),
        (("--ratios", "0.5", "--ratios", "2"), 2, "--ratios: '0.5,2' is not a list of shares"),
        (("--max-drop", "1%"), 2, "--max-drop needs samples with labels"),
        (("--data", "none.npz"), 2, "no such file"),
        (("--include", "none*"), 2, "matches no node, no weight and no group"),
        (("--provider", "QNNExecutionProvider"), 7, "is not available"),
        (("-o", "none/s.json"), 2, "does not exist"),
    ],
)
def test_exit_codes(net, arguments, code, message):
    done = invoke(net, *QUICK[:4], *arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert not net.with_name("net.sensitivity.json").exists()


def test_the_output_is_never_the_input(net):
    assert invoke(net, *QUICK, "-o", net).exit_code == 2
    assert invoke(net, *QUICK, "-o", net.with_suffix(".json"), "--plot", net.with_suffix(".jsonl")).exit_code == 2


def test_labels_make_it_accuracy(net):
    x = np.random.default_rng(0).normal(size=(3, 4, 6, 6)).astype(np.float32)
    np.savez(net.with_name("d.npz"), x=x, y=np.zeros((3, 6, 6), np.int64))
    done = invoke(net, "--jobs", "1", "--data", net.with_name("d.npz"), "--samples", "3", "--criterion", "l1")
    assert done.exit_code == 0
    assert "accuracy drops by at most 1.00%" in done.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("distance", -1.0, "groups.0.points.0.distance is -1.0"),
        ("distance", float("nan"), "groups.0.points.0.distance is nan"),
        ("macs", -0.5, "groups.0.points.0.macs is -0.5"),
        ("removed", 400, "channels of group 'w' do not rise"),
    ],
)
def test_numbers_that_were_never_measured_are_refused_by_name(net, tmp_path, key, value, words):
    report = tmp_path / "s.json"
    assert invoke(net, *QUICK, "-o", report).exit_code == 0
    document = json.loads(report.read_text())
    assert document["groups"][0]["name"] == "w"
    document["groups"][0]["points"][0][key] = value
    report.write_text(json.dumps(document))
    words_of = ["prune", str(net), "-o", str(tmp_path / "o.onnx"), "--sensitivity", str(report)]
    done = CliRunner().invoke(compress, words_of)
    assert done.exit_code == 2
    assert words in done.output


def test_a_limit_that_nothing_meets_is_said_with_what_came_nearest(net):
    done = invoke(net, *QUICK, "--max-distance", "0.000001")
    text = " ".join(done.stdout.split())
    assert "Nothing can go within that: least is lost by" in text
    assert "Allow more, or measure smaller --ratios." in text
    assert "from which the next run goes on" in text
