"""A page on a run that trained, unified or quantised."""

from __future__ import annotations

from compressor.render.finetune import render_finetune
from compressor.render.quantize import render_quantized
from compressor.render.run_page import render_run, training_charts
from compressor.results.detail import UndoneRow
from compressor.results.finetune import EpochRow, Score, TuneReport
from compressor.results.quantize import QuantizedRow, QuantizeReport
from compressor.results.records import GateRow
from tests.render.case import HOSTILE, stats
from tests.render.outline import Outline

UNDONE = UndoneRow(what="training", measure="loss", on="64 samples set aside", before=1.5, after=2.0, seconds=3.0)


def trained(name: str = "net") -> TuneReport:
    epochs = [
        EpochRow(epoch=k, loss=1.0 / k, valid=Score(loss=2.0 / k, metric=0.5), learning_rate=0.1, images_per_second=9)
        for k in (1, 2)
    ]
    return TuneReport(
        input=f"models/{name}.onnx",
        output="models/out.onnx",
        metric_name="accuracy",
        share=True,
        before=Score(loss=1.5, metric=0.5),
        after=Score(loss=1.5, metric=0.5),
        judged=64,
        best_epoch=0,
        undone=[UNDONE],
        stopped_early=False,
        steps=8,
        epochs=epochs,
        device="cpu",
        seconds={"training": 3.0},
        ran={"training": [{"device": "cpu"}]},
        settings={"device": "auto"},
        warnings=[f"of {name}"],
    )


def page(report, draw) -> Outline:
    found = Outline(render_run(report, lambda console: draw(report, console)))
    assert found.open == []
    return found


def test_training_has_curves_what_was_undone_and_what_auto_became() -> None:
    words = page(trained(), render_finetune).words
    for told in (
        "Training report",
        "net.onnx",
        "Written to out.onnx.",
        "loss 1.5 before, 2 at best after it, on 64 samples set aside (3.0 s).",
        "The weights of epoch 0 were kept.",
        "Trained for 2 epochs, 8 steps on cpu",
        "auto (cpu)",
        "Time: 3.0 s",
        "of net",
    ):
        assert told in words


def test_names_cannot_break_the_page() -> None:
    for name in HOSTILE:
        assert not [tag for tag, _ in page(trained(name), render_finetune).tags if tag in ("script", "img", "iframe")]


def test_quantization_has_gates_and_claims_no_proof() -> None:
    gate = GateRow(name="max_drop", limit=0.01, measured=0.0, of="top-1", unsure="9 samples are few")
    weights = [QuantizedRow(name="w", label="w", weights=9, quantized=True)]
    sizes = {"input": stats("a.onnx", 100), "output": stats("b.onnx", 30)}
    report = QuantizeReport(**sizes, gates=[gate], weights=weights, calibrated=8, available=20)
    words = page(report, render_quantized).words
    assert "Quantization report" in words
    assert "met, unsure" in words
    assert "Not sure: 9 samples are few." in words
    assert "calibrated on 8 of 20 samples" in words
    assert "proof" not in words.lower()
    assert "How fast it runs was not measured: --latency times it" in words


def test_samples_that_were_given_to_judge_on_were_not_set_aside() -> None:
    report = trained()
    assert {line.name for curve in training_charts(report) for line in curve.series[-1:]} == {"samples set aside"}
    given = report.model_copy(update={"settings": {"val_data": "val.npz"}})
    assert {line.name for curve in training_charts(given) for line in curve.series[-1:]} == {"samples of --val-data"}
