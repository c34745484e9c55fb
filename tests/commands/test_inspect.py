"""What a file holds, without any change to it."""

from __future__ import annotations

from pathlib import Path

import onnx

from compressor.commands.inspect import inspect_file
from compressor.config import PruneSettings, RunSettings
from tests.commands.file_case import files_in, frozen, good
from tests.models import model


def test_inspect_changes_nothing(tmp_path: Path) -> None:
    source = good(tmp_path)
    before = source.read_bytes()
    report = inspect_file(source, RunSettings())
    assert source.read_bytes() == before
    assert files_in(tmp_path) == {"in.onnx"}
    assert {g.name: (g.channels, g.removed, g.axes) for g in report.groups} == {
        "w": (16, 0, ["w:0", "v:1", "bias:0"]),
        "v": (8, 0, ["v:0", "head:1"]),
    }
    assert [(row.value, row.axis, row.channels) for row in report.frozen] == [("head", 0, 2)]
    assert report.output is None
    assert report.prunable_params == report.input.params == 16 * 4 * 9 + 16 + 8 * 16 + 2 * 8


def test_inspect_where_nothing_can_go(tmp_path: Path) -> None:
    report = inspect_file(frozen(tmp_path), RunSettings())
    assert report.groups == []
    assert [row.reason for row in report.frozen] != []


def test_a_share_of_the_parameters_is_at_most_all_of_them(tmp_path: Path) -> None:
    """Constants that nodes share have copies in the analysed graph."""
    path = tmp_path / "in.onnx"
    text = """(float[n,8] x) => (float[n,16] y) <float[8,16] w, float[16] s, float[16,16] v> {
        a = MatMul(x, w)  b = Mul(a, s)  c = Add(b, s)  d = Mul(c, s)  e = Add(d, s)  y = MatMul(e, v) }"""
    onnx.save(model(text), path)
    report = inspect_file(path, PruneSettings())
    assert report.prunable_params == report.input.params
