"""Verdicts on gates, and what was undone, stand in every form of a report."""

from __future__ import annotations

from io import StringIO

import onnx
from rich.console import Console

from compressor.render.card import card
from compressor.render.gates import gate_cells
from compressor.render.html import render_html
from compressor.render.text import render_report
from compressor.results.detail import EPOCHS, Curve, Series, UndoneRow
from compressor.results.records import GateRow
from tests.models import between
from tests.render.case import full

MISSED = GateRow(name="max_drop", limit=0.01, measured=0.02, of="top-1", missed="top-1 dropped by 2.00%")
CELLS = ("--max-drop", "1.00%", "2.00%", "MISSED", "top-1")


def test_cells_are_in_the_unit_of_the_gate() -> None:
    assert gate_cells(MISSED) == CELLS
    small = GateRow(name="max_size", limit=2000, measured=1500, share=False)
    assert gate_cells(small, "a") == ("a", "2,000 B", "1,500 B", "met", "")
    slow = GateRow(name="min_speedup", limit=1.2, measured=None, share=False)
    assert gate_cells(slow) == ("--min-speedup", "1.2x", "-", "not measured", "")


def test_text_html_and_card_have_the_same_cells(tmp_path) -> None:
    report, stream = full(gates=[MISSED]), StringIO()
    render_report(report, Console(file=stream, width=80, markup=False, emoji=False, highlight=False))
    onnx.save(between("b = Relu(a)"), str(tmp_path / "net.onnx"))
    # Names may be broken and marks escaped in pages and cards.
    for shown in (stream.getvalue(), render_html(report), card(tmp_path / "net.onnx", report)):
        assert all(cell in shown for cell in CELLS)


def test_training_that_was_undone_is_told_in_each_form(tmp_path) -> None:
    row = UndoneRow(what="training", measure="loss", on="450 samples set aside", before=0.5, after=0.75)
    report, stream = full(undone=[row]), StringIO()
    render_report(report, Console(file=stream, width=400, markup=False, emoji=False, highlight=False))
    onnx.save(between("b = Relu(a)"), str(tmp_path / "net.onnx"))
    said = "weights from before are kept: loss 0.5 before, 0.75 at best after it, on 450 samples set aside."
    for shown in (stream.getvalue(), render_html(report), card(tmp_path / "net.onnx", report)):
        assert said in shown


def test_without_gates_there_is_no_section() -> None:
    assert "Gates" not in render_html(full(gates=[]))


def test_robustness_stands_in_the_text_and_training_does_not() -> None:
    lines = [Series(name=name, points=[(0, 98.0), (1, end)]) for name, end in (("original", 60), ("result", 40.5))]
    noise = Curve(title="Accuracy under noise", x_label="amplitude", y_label="accuracy, %", series=lines, note="On 9.")
    stream = StringIO()
    report = full(curves=[noise, noise.model_copy(update={"title": "Loss, training", "x_label": EPOCHS})])
    render_report(report, Console(file=stream, width=120, markup=False, emoji=False, highlight=False))
    shown = " ".join(stream.getvalue().split())
    assert "Robustness: On 9." in shown
    assert "Accuracy under noise (accuracy, %) 98 -> 60 98 -> 40.5" in shown
    assert "Loss, training" not in shown
