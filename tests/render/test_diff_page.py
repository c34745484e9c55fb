"""The page on what differs: every layer with its state, whatever its name."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from compressor.commands.diff import diff_files, diff_report_file
from compressor.render.diff_page import layer_changes, render_diff_page
from compressor.results import DiffReport, InitializerChange, OperatorChange
from compressor.results.detail import LayerRow
from tests.models import between
from tests.render.case import HOSTILE, stats
from tests.render.outline import Outline


def row(name: str, before: int | None, after: int | None) -> LayerRow:
    return LayerRow(name=name, op_type="Conv", weight=f"{name}.w", macs_before=before, macs_after=after)


def report(name: str = "layer") -> DiffReport:
    return DiffReport(
        a=stats(f"{name}.onnx", 400),
        b=stats(f"{name}.small.onnx", 100),
        same_signature=True,
        initializers=[
            InitializerChange(name=f"{name}0.w", shape_a=[8, 4], shape_b=[4, 4]),
            InitializerChange(name=f"{name}1.w", shape_a=[8], shape_b=[8]),
        ],
        operators=[OperatorChange(op_type=name, count_a=2, count_b=1)],
        layers=[
            row(f"{name}0", 800, 200),
            row(f"{name}1", 50, 50),
            row(f"{name}2", 50, 50),
            row(f"{name}3", 10, None),
            row(f"{name}4", None, 20),
            row(f"{name}5", 10, 20),
        ],
    )


def test_every_layer_has_its_state() -> None:
    found = list(layer_changes(report()))
    assert [x.state for x in found] == ["smaller", "other weight", "same", "only in A", "only in B", "larger"]
    assert (found[0].shapes, found[0].change) == ("8×4 → 4×4", "−75%")
    assert (found[0].rail, found[0].fill, found[4].rail) == (100, 25, 0)
    assert found[1].shapes == ""


@pytest.mark.parametrize("name", ["layer", *HOSTILE])
def test_the_page_is_whole_whatever_names_are(name: str) -> None:
    page = render_diff_page(report(name))
    outline = Outline(page)
    assert not outline.open
    assert "<script" not in page
    anchors = {attributes["href"] for tag, attributes in outline.tags if tag == "a"}
    assert anchors == {f"#{attributes['id']}" for tag, attributes in outline.tags if tag == "section"}


def test_two_files_are_compared_by_layer(tmp_path: Path) -> None:
    onnx.save(between("b = Relu(a)"), str(tmp_path / "a.onnx"))
    a, place = tmp_path / "a.onnx", tmp_path / "d.html"
    diff_report_file(a, a, diff_files(a, a), place)
    text = place.read_text(encoding="utf-8")
    assert "3 layers that multiply: 3 same." in text
    assert "All are the same." in text
