"""Samples in another range than the network was trained on are named, and those in its own are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.commands.finetune import finetune_file
from compressor.commands.prune_file import prune_file
from compressor.commands.quantize import quantize_file
from compressor.commands.sensitivity import sensitivity
from compressor.config import PruneSettings, TuneSettings
from compressor.config.quantize import QuantizeSettings
from compressor.config.sensitivity import SensitivitySettings
from compressor.data.source import open_data
from compressor.data.synthetic import IMAGENET, UNIT
from compressor.evaluate.stand_in import given_samples_notes
from compressor.graph.disk import files
from compressor.pruning.cut.analysis import prepared_model

MODELS = Path(__file__).parents[2] / "models"
NET = MODELS / "digits-mobilenet.onnx"
RESNET = MODELS / "digits-resnet.onnx"
SAID = "pixels of 'image' go from 0 to 255, and the network behaves as if it had been trained on 0 to 1"


@pytest.fixture
def bytes_as_floats(tmp_path: Path) -> Path:
    with np.load(MODELS / "digits-test.npz") as file:
        np.savez(tmp_path / "x.npz", x=file["x"][:128] * 255)
    return tmp_path / "x.npz"


def said(data: Path, net: Path = NET, **more: object) -> list[str]:
    settings = PruneSettings.parse({"ratio": 0.5, "data": str(data), **more})
    source = files.load_model(net)
    return given_samples_notes(prepared_model(source, settings)[0], open_data(settings, source), settings)


def test_the_range_that_it_knows() -> None:
    assert said(MODELS / "digits-test.npz") == []


def test_another_range(bytes_as_floats: Path) -> None:
    (text,) = said(bytes_as_floats)
    assert text.startswith(SAID)
    assert text.endswith("--mean 0 --std 255")


def test_the_remedy_and_whoever_says_a_range(bytes_as_floats: Path) -> None:
    assert said(bytes_as_floats, std=(255.0,)) == []


@pytest.mark.parametrize("offset", [-1.0, 300.0])
def test_what_was_prepared_or_is_no_image(offset: float, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((64, 1, 8, 8), np.float32) + offset)
    assert said(tmp_path / "x.npz") == []


def test_few_samples_say_little(tmp_path: Path) -> None:
    with np.load(MODELS / "digits-test.npz") as file:
        np.savez(tmp_path / "one.npz", **{name: array[:1] for name, array in file.items()})
    (text,) = said(tmp_path / "one.npz")
    assert text == "fewer than 30 samples were given, which say little of others; give more with --data"
    asked = {"data": str(tmp_path / "one.npz")}
    report = sensitivity(NET, SensitivitySettings.parse({**asked, "ratios": (0.5,), "jobs": 1}))
    pruned = prune_file(NET, None, PruneSettings.parse({**asked, "recover": "finetune", "epochs": 1}))
    tuned = finetune_file(NET, None, TuneSettings.parse({**asked, "epochs": 1}), teacher=NET)
    for warnings in (report.warnings, pruned.report.warnings, tuned.warnings):
        assert warnings.count(text) == 1


def test_reports_say_it(bytes_as_floats: Path, tmp_path: Path) -> None:
    asked = {"data": str(bytes_as_floats), "samples": 64}
    pruned = prune_file(NET, None, PruneSettings.parse({**asked, "ratio": 0.5, "recover": "bias", "scope": "local"}))
    quantized = quantize_file(NET, tmp_path / "q.onnx", QuantizeSettings.parse(asked))
    for report in (pruned.report, quantized):
        assert any(text.startswith(SAID) for text in report.warnings)


def by_class(tmp_path: Path, **arrays: np.ndarray) -> Path:
    """Samples of digits in the order of their classes, as a folder of images lists them."""
    with np.load(MODELS / "digits-test.npz") as file:
        order = np.argsort(file["y"], kind="stable")
        stored = {name: file[name][order] for name in ("x", "y")} | arrays
    np.savez(tmp_path / "sorted.npz", **stored)
    return tmp_path / "sorted.npz"


def test_one_class_after_the_other_is_no_other_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.evaluate.stand_in._known_to_be_right", lambda *_: False)
    assert said(by_class(tmp_path), net=RESNET) == []


@pytest.mark.parametrize("right", [True, False])
def test_labels_that_show_the_original_to_be_right(
    right: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {} if right else {"y": np.random.default_rng(0).integers(0, 10, 450)}
    monkeypatch.setattr("compressor.evaluate.value_range.MUCH", -1.0)  # every range counts as far from the best
    assert bool(said(by_class(tmp_path, **labels), net=RESNET)) is not right


def test_numbers_fit_the_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.evaluate.value_range.USUAL_RANGES", (UNIT, IMAGENET))
    monkeypatch.setattr("compressor.evaluate.value_range.MUCH", -9.0)
    monkeypatch.setattr(
        "compressor.evaluate.value_range._scores",
        lambda _model, plan, *_: {one: one == IMAGENET for one in plan.candidates},
    )
    monkeypatch.setattr("compressor.evaluate.stand_in._known_to_be_right", lambda *_: False)
    (text,) = said(by_class(tmp_path), net=RESNET)
    assert text.endswith("--mean 0.449 --std 0.226")
    assert "-1.987 to 2.438" in text
