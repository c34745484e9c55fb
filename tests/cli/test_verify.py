"""``onnx-compress verify``: exit codes, and what is said of a difference."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from compressor.cli.main import compress
from tests.models import model


def invoke(*arguments: Any):
    old = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()
    return runner.invoke(compress, ["verify", *(str(a) for a in arguments)])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    proto = model("(float[n,8] x) => (float y) <float[8,4] w> { a = MatMul(x, w)\n y = Relu(a) }")
    onnx.save(proto, str(tmp_path / "a.onnx"))
    weight = numpy_helper.to_array(proto.graph.initializer[0]) * np.float32(1.1)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    onnx.save(proto, str(tmp_path / "b.onnx"))
    return tmp_path / "a.onnx", tmp_path / "b.onnx"


def test_equal_models_are_exit_0(pair):
    done = invoke(pair[0], pair[0])
    assert done.exit_code == 0
    assert "B equals A within tolerance" in done.stdout
    assert done.stderr == ""


def test_how_many_samples_were_compared(pair, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((70, 8), np.float32))
    done = invoke(pair[0], pair[0], "--data", tmp_path / "x.npz")
    assert "B equals A within tolerance, 70 samples." in done.stdout


def test_models_that_differ_are_exit_5_with_the_node(pair, tmp_path):
    done = invoke(*pair, "--json", tmp_path / "r.json")
    assert done.exit_code == 5
    assert "B DIFFERS from A" in done.stdout
    assert done.stderr.strip().endswith("allow more with --rtol or --atol if that is meant")
    assert "the first node that differs is 'MatMul_0' (MatMul)" in done.stderr
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["passed"] is False
    assert document["divergence"]["first"]["value"] == "a"
    assert document["divergence"]["weights"] == ["w"]


def test_tolerance_decides(pair):
    assert invoke(*pair, "--rtol", "0.2").exit_code == 0
    assert invoke(*pair, "--rtol", "0.01", "--no-bisect").exit_code == 5


def stamped(pair: tuple[Path, Path], settings: dict[str, Any], factor: float = 1.0) -> tuple[Path, Path]:
    """The pair, with a B that says that it was pruned from A; its weights are multiplied."""
    proto = onnx.load(str(pair[1]))
    tensor = proto.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), "w"))
    digest = hashlib.sha256(pair[0].read_bytes()).hexdigest()
    facts = {"command": "prune", "settings": json.dumps(settings), "input_sha256": digest, "distance": "0.1 of all"}
    onnx.helper.set_model_props(proto, {f"onnx_compressor.1.{name}": value for name, value in facts.items()})
    onnx.save(proto, str(pair[1]))
    return pair


def test_what_was_pruned_from_a_is_meant_to_differ(pair, tmp_path):
    done = invoke(*stamped(pair, {"ratio": 0.5}), "--json", tmp_path / "r.json")
    assert done.exit_code == 0
    assert 'it was made of A by prune\n{"ratio": 0.5}' in done.stdout
    assert "What is allowed is a default" in " ".join(done.stdout.split())
    assert "DIFFERS" not in done.stdout
    text = " ".join(done.stdout.split())
    assert "Off: y, by 10.0% of its norm; the largest class is the same in 100.0% (" in text
    assert "sets of inputs)." in text
    assert "it was off by 0.1 of all" in done.stdout
    assert "with --rtol or --atol" in done.stdout
    document = json.loads((tmp_path / "r.json").read_text())
    assert (document["passed"], document["meant"], document["divergence"]) == (False, True, None)
    assert document["outputs"][0]["distance"] == pytest.approx(0.1, rel=1e-3)
    assert document["made_by"][0]["command"] == "prune"


@pytest.mark.parametrize("limit", ["--rtol", "--atol"])
def test_a_limit_that_is_asked_for_holds_for_what_was_pruned(pair, limit):
    assert invoke(*stamped(pair, {"ratio": 0.5}), limit, "1e-4").exit_code == 5
    assert invoke(*pair, limit, "9").exit_code == 0


def test_what_may_not_differ_is_exit_5_whatever_it_says(pair, tmp_path):
    assert invoke(*stamped(pair, {"lossless": True})).exit_code == 5
    assert invoke(*stamped(pair, {}, factor=np.nan)).exit_code == 5, "no numbers are a fault"
    proto = onnx.load(str(pair[0]))
    proto.doc_string = "another file"
    onnx.save(proto, str(tmp_path / "other.onnx"))
    assert invoke(tmp_path / "other.onnx", stamped(pair, {})[1]).exit_code == 5


def test_other_signatures_are_exit_2(pair, tmp_path):
    onnx.save(model("(float[n,9] x) => (float y) { y = Relu(x) }"), str(tmp_path / "c.onnx"))
    done = invoke(pair[0], tmp_path / "c.onnx")
    assert done.exit_code == 2
    assert "input 'x' has shape [n, 8]" in done.stderr


def test_missing_things_have_their_codes(pair, tmp_path):
    assert invoke(pair[0], tmp_path / "none.onnx").exit_code == 3
    assert invoke(*pair, "--provider-b", "QNNExecutionProvider").exit_code == 7
    assert invoke(*pair, "--data", tmp_path / "none.npz").exit_code == 2
    assert invoke(*pair, "--provider-b", "gpu").exit_code == 2
