"""The curves of robustness in the report of a pruning run."""

from __future__ import annotations

from pathlib import Path

from compressor.commands.prune_file import prune_file
from compressor.commands.robustness_curves import stressed
from compressor.config import PruneSettings
from compressor.graph.disk import files
from compressor.render.html import render_html

MODELS = Path(__file__).parents[2] / "models"
NET, TRAIN, TEST = (MODELS / name for name in ("digits-resnet.onnx", "digits-train.npz", "digits-test.npz"))


def test_a_run_reports_how_its_result_stands_noise_and_corruption(tmp_path: Path) -> None:
    settings = PruneSettings.parse(
        {"data": str(TRAIN), "val_data": str(TEST), "samples": 64, "augment": "flip", "robustness": True}
    )
    result = prune_file(NET, tmp_path / "out.onnx", settings)
    titles = [curve.title for curve in result.report.curves]
    assert {"Accuracy under noise", "Blur", "JPEG", "Contrast"} <= set(titles)
    accuracy = result.report.curves[0]
    assert [line.name for line in accuracy.series] == ["original", "result"]
    clean = [line.points[0] for line in accuracy.series]
    assert clean[0][0] == clean[1][0] == 0.0
    assert clean[0][1] > 95 > clean[1][1], "half the channels are gone, nothing was recovered"
    assert "64 of 450 samples of" in accuracy.note
    assert "digits-test.npz" in accuracy.note
    assert "Accuracy under noise" in render_html(result.report)
    assert "robustness" in result.report.seconds


def test_without_data_there_is_likeness_under_noise() -> None:
    curves, _ = stressed(NET, files.load_model(NET), PruneSettings(samples=16))
    assert curves
    assert not any("ccuracy" in curve.y_label for curve in curves)
    for curve in curves:
        first, second = (line.points for line in curve.series)
        assert first == second, "a model is like itself"
