"""Which mode is taken: the first, unless another is clearly nearer or takes clearly more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from compressor.config.quantize import QuantizeSettings
from compressor.errors import ModelError
from compressor.results.quantize import ModeRow, QuantizedRow
from compressor.steps import quantize_mode
from compressor.steps.quantize_mode import MORE, NEAR, _cannot_be_beaten, _chosen, _Try, _untaken


def tried(mode: str, distance: float | None = None, quantized: float = 1.0, agreement: float | None = None) -> _Try:
    task: Any = SimpleNamespace(weights={}, mode=mode)
    row = ModeRow(mode=mode, distance=distance, quantized=quantized, agreement=agreement)
    return _Try(task, SimpleNamespace(), None, row)  # type: ignore[arg-type]


def refused(mode: str) -> _Try:
    task: Any = SimpleNamespace(weights={}, mode=mode)
    return _Try(task, None, ModelError("no kernel"), ModeRow(mode=mode, refused="no kernel"))


@pytest.mark.parametrize(
    ("first", "other", "mode", "why"),
    [
        (tried("static", 0.05), tried("dynamic", 0.05 - 0.9 * NEAR), "static", "comes first where both are near"),
        (tried("static", 0.05), tried("dynamic", 0.05 - 1.1 * NEAR), "dynamic", "with static"),
        (tried("static", 0.05, 0.5), tried("dynamic", 0.05, 0.5 + 1.1 * MORE), "dynamic", "it takes 61.0%"),
        (tried("static", 0.05, 0.5), tried("dynamic", 0.2, 1.0), "static", "with it"),
        (tried("static", None, 0.5), tried("dynamic", None, 1.0), "dynamic", "it takes 100.0%"),
        (refused("static"), tried("dynamic", 0.9), "dynamic", "made nothing that could be used: no kernel"),
        (tried("static", 0.9), refused("dynamic"), "static", "with it"),
        (tried("static", 0.9, agreement=0.99), tried("dynamic", 0.1, agreement=0.985), "static", "99"),
    ],
)
def test_which_is_taken_and_why(first: _Try, other: _Try, mode: str, why: str) -> None:
    taken, said = _chosen([first, other])
    assert taken.task.mode == mode
    assert why in said


@pytest.mark.parametrize(
    ("one", "beaten"),
    [
        (tried("static", 0.5 * NEAR), False),
        (tried("static", 2 * NEAR), True),
        (tried("static", 0.0, 1 - 2 * MORE), True),
        (tried("static"), False),
        (refused("static"), True),
    ],
)
def test_nothing_else_is_tried_where_it_could_not_win(one: _Try, beaten: bool) -> None:
    assert _cannot_be_beaten(one) is not beaten


def test_convolutions_may_be_further_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize_mode, "_convolutional", lambda _: True)
    pair = [tried("static", 0.05), tried("dynamic", 0.0)]
    assert _chosen(pair)[0].task.mode == "static"
    monkeypatch.setattr(quantize_mode, "_convolutional", lambda _: False)
    assert _chosen(pair)[0].task.mode == "dynamic"


def test_recurrent_weights_that_stay_are_told_with_what_takes_them() -> None:
    rows = [QuantizedRow(name=op, label=op, operator=op, weights=n, quantized=q) for op, n, q in
            (("LSTM", 30, False), ("MatMul", 70, True))]  # fmt: skip
    [text] = _untaken("static", rows)
    assert "30.0% of the numbers of weights stay as they were" in text
    assert "--mode dynamic takes LSTM" in text
    assert not _untaken("dynamic", rows)
    assert not _untaken("static", rows[1:])


@pytest.mark.parametrize(("operator", "told"), [("MatMul", True), ("Conv", False)])
def test_int4_is_told_of_where_it_takes_weights_and_was_not_tried(operator: str, told: bool) -> None:
    rows = [QuantizedRow(name="w", label="w", operator=operator, weights=30, quantized=True)]
    found: Any = SimpleNamespace(task=SimpleNamespace(mode="dynamic"), done=SimpleNamespace(rows=rows))
    far: Any = SimpleNamespace(agreement=None, distance=SimpleNamespace(value=0.9), farthest="y")
    [text] = quantize_mode.mode_remarks(found, far, QuantizeSettings(mode="auto"))
    assert "no mode of int8" in text
    assert ("--mode int4" in text) is told
