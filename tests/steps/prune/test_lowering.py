"""Masked layers are written as smaller convolutions where that is faster, and otherwise it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.steps.prune import lowering
from tests.models import in_memory, model
from tests.reconstruct.case import noise
from tests.steps.prune.layer_case import NET, masked, settings_of


@pytest.fixture
def data(tmp_path: Path) -> str:
    np.savez(tmp_path / "data.npz", x=noise(64, 3, 8, 8))
    return str(tmp_path / "data.npz")


@pytest.mark.parametrize(("structure", "lower"), [("nm", "always"), ("groups", "never")])
def test_masks_that_are_not_lowered_stay_as_zeros_and_say_so(structure: str, lower: str, data: str) -> None:
    amount = {"ratio": 0.4, "target_macs": None} if structure == "nm" else {}
    done = masked(structure, data, lower=lower, **amount)
    report = done.report
    assert report.changed
    written = report.model_copy(update={"output": report.input})
    assert any("the graph computes 1.00" in said for said in lowering.zeros_in_target(written)) == (not amount)
    assert not any(row.lowered for row in report.changed)
    assert any("keep zeros" in warning for warning in report.warnings)
    tensors = [v.const_value for v in done.model.graph.initializers.values() if v.const_value is not None]
    shares = [float((tensor.numpy() == 0).mean()) for tensor in tensors if len(tensor.shape) == 4]
    assert max(shares) >= 0.2


def test_only_what_is_faster_is_lowered(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "_faster", lambda changed, nodes, settings: [n for n in nodes if n == "Conv_4"])
    report = masked("groups", data, lower="auto", target_macs=0.35).report
    assert {row.node: row.lowered for row in report.changed} == {"Conv_2": False, "Conv_4": True}
    assert any("were not measured to be faster" in warning for warning in report.warnings)


def test_times_count_for_the_layer_that_they_belong_to() -> None:
    text = """(float[1,4,4,4] x) => (float[1,4,4,4] y) <float[4,4,1,1] w, float[4,4,1,1] v> {
        a = Conv(x, w)
        b = Relu(a)
        c = Conv(b, v)
        y = Add(c, b)
    }"""
    source = in_memory(model(text))
    nodes = {str(n.name): n for n in source.graph}
    nodes["Relu_1"].name = "Conv_2.gather"
    found = lowering.layers_by_name(source, ["Conv_2"])
    assert found["Conv_0"] == lowering.REST
    assert {found[name] for name in ("Conv_2", "Conv_2.gather", "c", "Add_3", "y")} == {"Conv_2"}


def test_layers_are_timed_at_the_sizes_of_the_samples(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[PruneSettings] = []
    monkeypatch.setattr(lowering, "_faster", lambda changed, nodes, settings: timed.append(settings) or [])
    source = in_memory(model(NET.replace("float[N,3,8,8] x", "float[N,3,h,k] x")))
    asked = {"structure": "groups", "target_macs": 0.35, "data": data, "recover": "lstsq", "input_shapes": []}
    prune(source, settings_of(**asked))
    assert timed[0].dims == {"h": 8, "k": 8}
