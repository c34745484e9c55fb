"""What samples go through before the model sees them, in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import DataSettings, PruneSettings
from compressor.core.clock import Clock, LastingText, Notice
from compressor.data import open_data, split_dataset
from compressor.data.prepared import preparation_told
from tests.models import in_memory, model

FIRST, LAST = (8, 4, 6, 6), (8, 6, 6, 4)


def net(channels: int = 4) -> ir.Model:
    text = """(float[n,{c},6,6] x) => (float[n,d,h,w] y) <float[8,{c},3,3] k, float[2,8,1,1] head> {{
        a = Conv(x, k)  b = Relu(a)  y = Conv(b, head) }}"""
    return in_memory(model(text.format(c=channels)))


def told(folder: Path, array: np.ndarray, **settings: object) -> str:
    np.savez(folder / "data.npz", x=array)
    data = open_data(DataSettings.parse({"data": str(folder / "data.npz"), **settings}), net())
    assert preparation_told(split_dataset(data, 0.5, 0)[0]) == preparation_told(data)
    return preparation_told(data)


def test_layout_scale_and_normalisation_are_told(tmp_path: Path) -> None:
    assert told(tmp_path, np.zeros(FIRST, np.float32)) == ""
    assert told(tmp_path, np.zeros(LAST, np.float32)) == "x: channels moved before height and width"
    assert told(tmp_path, np.zeros(FIRST, np.uint8)) == "x: bytes divided by 255"
    assert told(tmp_path, np.zeros(LAST, np.uint8), mean=(0.5,), std=(0.25,)) == (
        "x: channels moved before height and width, bytes divided by 255, --mean 0.5 taken off, --std 0.25 divided by"
    )


def test_a_run_says_so_once_and_keeps_it_on_the_screen(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros(LAST, np.uint8))
    said: list[str] = []
    settings = PruneSettings.parse({"data": str(tmp_path / "data.npz"), "recover": "bias", "verify": "off"})
    prune(net(), settings, clock=Clock(said.append))
    notices = [text for text in said if isinstance(text, Notice)]
    assert [str(text) for text in notices] == [
        "samples: x: channels moved before height and width, bytes divided by 255"
    ]
    assert isinstance(notices[0], LastingText)
    assert "prepared=" in notices[0].line


def test_a_folder_of_images_says_how_they_are_read(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    found = preparation_told(open_data(DataSettings(data=str(tmp_path)), net(3)))
    assert (
        found
        == "x: images read as RGB, scaled and cut to 6x6, channels moved before height and width, bytes divided by 255"
    )
