"""``--sensitivity``: a global ranking by what was measured."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from compressor.commands.prune import prune
from compressor.commands.sensitivity import sensitivity_file
from compressor.config import PruneSettings
from compressor.config.sensitivity import SensitivitySettings
from compressor.errors import UsageError
from compressor.experiments.change import ReferenceOutputs, open_samples
from compressor.graph.disk import files
from tests.models import model

NET = """
    (float[n,8] x) => (float[n,4] y) <float[8,32] w, float[32,32] v, float[32,4] u> {
        a = MatMul(x, w)  r = Relu(a)  b = MatMul(r, v)  s = Relu(b)  y = MatMul(s, u) }"""


@pytest.mark.parametrize("amount", [{"target_macs": 0.5}, {"target_params": 0.5}, {"ratio": 0.4}])
def test_the_amount_is_met_and_less_is_lost_than_by_the_worst_report(tmp_path: Path, amount: dict[str, float]) -> None:
    net, report = tmp_path / "net.onnx", tmp_path / "s.json"
    onnx.save(model(NET), str(net))
    measured = sensitivity_file(net, report, SensitivitySettings(samples=256, jobs=1))
    far = [
        group.model_copy(update={"points": [p.model_copy(update={"distance": 1 / p.distance}) for p in group.points]})
        for group in measured.groups
    ]
    (tmp_path / "worst.json").write_text(measured.model_copy(update={"groups": far}).to_json())
    settings = SensitivitySettings(samples=256)
    source, loss = files.load_model(net), {}
    for path in (report, tmp_path / "worst.json"):
        found = prune(net, PruneSettings(round_to=1, sensitivity=path, **amount))
        folder = tmp_path / path.stem
        folder.mkdir()
        reference = ReferenceOutputs.make(source, open_samples(source, settings), settings, folder)
        assert found.report.done["scope"] == "sensitivity", "what decided"
        loss[path.stem] = reference.change(found.model).distance
    assert loss["s"] <= loss["worst"] + 1e-6


def test_a_report_of_another_model_is_exit_2(tmp_path: Path) -> None:
    onnx.save(model(NET), str(tmp_path / "net.onnx"))
    onnx.save(model(NET.replace("32", "16")), str(tmp_path / "other.onnx"))
    sensitivity_file(tmp_path / "other.onnx", tmp_path / "s.json", SensitivitySettings(samples=8, jobs=1))
    with pytest.raises(UsageError, match="it was measured on another model"):
        prune(tmp_path / "net.onnx", PruneSettings(sensitivity=tmp_path / "s.json"))
