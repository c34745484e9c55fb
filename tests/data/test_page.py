"""The examples of docs/data.md run as they stand."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import compressor
from compressor.data import Batch
from tests.data.case import close, saved, taking

ROOT = Path(compressor.__file__).parent
PAGE = (ROOT.parent / "docs" / "data.md").read_text(encoding="utf-8")


def block(start: str) -> str:
    """The indented block of the page that starts with this line."""
    lines = PAGE[PAGE.index(f"    {start}") :].splitlines()
    end = next(k for k, line in enumerate(lines) if line and not line.startswith("    "))
    return textwrap.dedent("\n".join(lines[:end]))


def test_the_example_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ir.save(taking("float[N,3,8,8] image", output="float[N,3,8,8] y"), "model.onnx")
    saved(tmp_path / "train.npz", x=np.zeros((40, 8, 8, 3), np.uint8), y=np.arange(40) % 4)
    names: dict[str, object] = {}
    exec(block("from compressor.config import DataSettings"), names)
    batch = names["batch"]
    assert isinstance(batch, Batch)
    assert batch.inputs["image"].shape == (30, 3, 8, 8)
    close(batch.inputs["image"], np.full((30, 3, 8, 8), -2))


def test_the_example_of_an_object() -> None:
    names: dict[str, object] = {}
    exec(block("from compressor.data import Batch") + "\nfound = Photos()\n", names)
    assert all(hasattr(names["found"], name) for name in ("take", "__len__", "labelled"))
