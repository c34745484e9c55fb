"""Time by node from ONNX Runtime's profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compressor.errors import ModelError
from compressor.runtime.library import ort
from compressor.runtime.profile import profile, read_profile
from compressor.runtime.sessions import CPU, Setup
from compressor.runtime.turns import operator_shares
from tests.models import model


def test_nodes_come_in_the_order_in_which_they_ran(tmp_path: Path):
    text = """
    (float[2,64,64] x) => (float y) <float[64,64] w> {
        a = MatMul(x, w)
        b = Sin(a)
        y = MatMul(b, w)
    }"""
    onnx.save(model(text), str(tmp_path / "m.onnx"))
    found = profile(tmp_path / "m.onnx", "cpu", {"x": np.ones((2, 64, 64), np.float32)}, Setup(threads=1), runs=5)
    assert [(n.name, n.op_type, n.provider) for n in found.nodes] == [
        ("MatMul_0", "MatMul", CPU),
        ("Sin_1", "Sin", CPU),
        ("MatMul_2", "MatMul", CPU),
    ]
    assert all(n.milliseconds > 0 for n in found.nodes)
    assert not found.kernels
    assert not list(Path.cwd().glob("*run_20*.json")), "the profile stays in the temporary folder"


def node(name: str, ts: int, dur: int, **args: Any) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": {"provider": "P", **args}}


def runs(*events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 5}]
    for k, own in enumerate(events):
        found.append({"cat": "Session", "name": "model_run", "ts": 1000 * (k + 1), "dur": 900})
        found += [{**e, "ts": e["ts"] + 1000 * (k + 1)} for e in own]
    return found


def test_the_first_runs_do_not_count_and_the_rest_has_a_median():
    events = runs(*[[node("a", 10, dur, op_name="Conv", node_index="1")] for dur in (900, 10, 20, 90)])
    assert [n.milliseconds for n in read_profile(events, 1).nodes] == [pytest.approx(0.020)]


def test_nodes_of_one_name_are_told_apart():
    both = [node("a", 10, 30, op_name="Conv", node_index="1"), node("a", 50, 70, op_name="Conv", node_index="2")]
    assert [n.milliseconds for n in read_profile(runs(both, both), 0).nodes] == pytest.approx([0.03, 0.07])


def test_a_node_in_a_loop_counts_as_often_as_it_ran_and_the_loop_not_at_all():
    body = [node("b", 10 * k, 5, op_name="Add", node_index="0") for k in range(4)]
    events = runs(*[[node("l", 0, 60, op_name="Loop", node_index="9"), *body]] * 3)
    found = read_profile(events, 0).nodes
    assert [(n.op_type, n.milliseconds) for n in found] == [("Add", pytest.approx(0.020))]


def test_kernels_of_an_accelerator_replace_the_time_of_their_launch():
    launch = node("c", 10, 4, op_name="Conv", node_index="3")
    kernels = [
        {"cat": "Kernel", "name": f"k{k}", "ts": 20 + k, "dur": 100, "args": {"parent_name": "c_kernel_time"}}
        for k in range(2)
    ]
    found = read_profile(runs([launch, *kernels], [launch, *kernels]), 0)
    assert found.kernels
    assert [n.milliseconds for n in found.nodes] == [pytest.approx(0.2)]


@pytest.mark.parametrize("text", [None, "[{"], ids=["no file", "cut short"])
def test_a_profile_that_cannot_be_read_is_a_sentence(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(model("(float[2] x) => (float y) { y = Sin(x) }"), str(tmp_path / "m.onnx"))
    written = tmp_path / "profile.json"
    if text is not None:
        written.write_text(text)
    monkeypatch.setattr(ort.InferenceSession, "end_profiling", lambda _: str(written))
    for read, remedy in (
        (lambda path, *how: profile(path, *how, runs=1), "run without --profile"),
        (lambda path, *how: operator_shares(path, path, *how), "use --target-macs instead"),
    ):
        with pytest.raises(ModelError, match=f"no readable profile; {remedy}"):
            read(tmp_path / "m.onnx", "cpu", {"x": np.ones(2, np.float32)}, Setup(threads=1))
