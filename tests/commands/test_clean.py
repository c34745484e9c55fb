"""Cleaning a file: what the report says beside the numbers."""

from __future__ import annotations

from pathlib import Path

import onnx

from compressor.commands.clean import clean_file
from compressor.config import CleanSettings
from tests.models import model


def test_a_file_that_grew_says_why(tmp_path: Path) -> None:
    dead = " ".join(f"d{k} = Sigmoid(x)" for k in range(200))
    for name, more in {"small": "", "large": dead}.items():
        onnx.save(model(f"(float[n,4] x) => (float[n,4] y) {{ {more} y = Relu(x) }}"), tmp_path / f"{name}.onnx")
        report = clean_file(tmp_path / f"{name}.onnx", tmp_path / "out.onnx", CleanSettings())
        assert any("more than before" in said for said in report.warnings) == (name == "small")
