"""Folders of images get the numbers that the model's metadata gives their names, and others are told of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.commands.prune_file import prune_file
from compressor.commands.verify import verify
from compressor.config import DataSettings, PruneSettings
from compressor.config.verify import VerifySettings
from compressor.data.class_names import folder_classes, named_classes
from compressor.data.order import subset
from compressor.data.source import open_data
from tests.models import in_memory, model

PIL = pytest.importorskip("PIL.Image")
MODELS = Path(__file__).parents[2] / "models"
NET = MODELS / "digits-resnet.onnx"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def folder_of(place: Path, names: tuple[str, ...], count: int) -> str:
    with np.load(MODELS / "digits-test.npz") as file:
        images, labels = file["x"][:count], file["y"][:count]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        home = place / names[label]
        home.mkdir(parents=True, exist_ok=True)
        PIL.fromarray((image[0] * 255).astype(np.uint8)).save(home / f"{number}.png")
    return str(place)


def named(text: str, key: str = "names") -> onnx.ModelProto:
    proto = model("(float[n,3,8,8] x) => (float[n,4,6,6] y) <float[4,3,3,3] w> { y = Conv(x, w) }")
    onnx.helper.set_model_props(proto, {key: text})
    return proto


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{0: 'bee', 1: 'ant'}", {"bee": 0, "ant": 1}),
        ('{"0": "bee", "1": "ant"}', {"bee": 0, "ant": 1}),
        ("['bee', 'ant']", {"bee": 0, "ant": 1}),
        ("{0: 'bee', 1: 'bee'}", {}),
        ("{0: 'bee', 'x': 'ant'}", {}),
        ("17", {}),
        ("bee", {}),
        ("", {}),
    ],
)
def test_names_in_metadata(text: str, found: dict[str, int]) -> None:
    for key in ("names", "id2label"):
        assert named_classes(in_memory(named(text, key))) == found


def test_folders_have_the_numbers_of_the_model(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "photos", WORDS, 80)
    proto = onnx.load(NET)
    onnx.helper.set_model_props(proto, {"names": str(dict(enumerate(WORDS)))})
    onnx.save(proto, tmp_path / "named.onnx")
    settings = VerifySettings.parse({"data": place, "eval": "top-1"})
    [plain] = verify(NET, NET, settings).accuracy
    [known] = verify(tmp_path / "named.onnx", tmp_path / "named.onnx", settings).accuracy
    assert plain.before < 0.5
    assert known.before > 0.9
    assert known.classes == {name: number for number, name in enumerate(WORDS)}
    assert list(plain.classes) == sorted(WORDS)


def test_a_name_that_the_model_lacks_leaves_all_in_the_order_of_names(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "photos", ("other", *WORDS[1:]), 80)
    proto = in_memory(onnx.load(NET))
    proto.metadata_props["names"] = str(dict(enumerate(WORDS)))
    data = open_data(DataSettings(data=place), proto)
    assert folder_classes(subset(data, 3, 0)) == {name: k for k, name in enumerate(sorted(("other", *WORDS[1:])))}


@pytest.mark.parametrize("count", [12, 60])
def test_an_original_that_is_never_right_is_told_of_with_the_numbers(tmp_path: Path, count: int) -> None:
    names = tuple(f"c{9 - digit}" for digit in range(10))
    place = folder_of(tmp_path / "photos", tuple(f"{n}" for n in names), count)
    for name in names:  # all ten, so that each is off
        (tmp_path / "photos" / name).mkdir(exist_ok=True)
        if not any((tmp_path / "photos" / name).iterdir()):
            PIL.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photos" / name / "x.png")
    asked = {"ratio": 0.5, "val_data": place}
    [told] = [w for w in prune_file(NET, None, PruneSettings.parse(asked)).report.warnings if "the original is" in w]
    assert "the order of classes (folders are numbered by name: c0 is 0, c1 is 1, c2 is 2, ...)" in told


def test_verify_says_so_too(tmp_path: Path) -> None:
    names = tuple(f"c{9 - digit}" for digit in range(10))
    place = folder_of(tmp_path / "photos", names, 60)
    found = verify(NET, NET, VerifySettings.parse({"data": place, "eval": "top-1"}))
    assert any("the original is right on 0.0%" in text for text in found.warnings)
