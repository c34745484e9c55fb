"""What is said of outputs that are far from the original's."""

from __future__ import annotations

import pytest

from compressor.config import PruneSettings
from compressor.results.detail import AccuracyRow, OutputsRow, Share
from compressor.steps.prune.conclude import far_off
from tests.render.case import full


def outputs(distance: float, agreement: float | None = None, chance: float | None = None) -> OutputsRow:
    def share(value: float) -> Share:
        return Share(output="y", value=value, low=None, high=None)

    agree = None if agreement is None else share(agreement)
    return OutputsRow(samples=64, distance=share(distance), agreement=agree, chance=chance)


def said(found: OutputsRow, **asked: object) -> list[str]:
    return far_off(full(outputs=found, accuracy=[]), PruneSettings.parse({"ratio": 0.5, "recover": "auto", **asked}))


@pytest.mark.parametrize(
    ("found", "far"),
    [
        (outputs(0.1, 0.59, 0.2), "the largest class is the original's in 59.0%"),
        (outputs(0.61), "outputs are off by 61.0% of their norm"),
        (outputs(0.61, 0.99, 0.9), "outputs are off by 61.0% of their norm"),
    ],
)
def test_a_ruined_result_is_warned_of(found: OutputsRow, far: str) -> None:
    text = f"{far} after recovery: probably not usable as it is; give --data, or remove less"
    assert said(found) == [text]
    (longer,) = said(found, data="a.npz")
    assert "train longer (--recover finetune, more --epochs), or remove less" in longer


@pytest.mark.parametrize("found", [outputs(0.9, 0.61, 0.2), outputs(0.59), outputs(0.59, 0.1, 0.9)])
def test_what_may_do_is_not_warned_of(found: OutputsRow) -> None:
    assert not said(found)


def test_accuracy_tells_by_itself_and_a_cut_alone_is_no_end() -> None:
    assert not said(outputs(0.9), recover="none")
    row = AccuracyRow(metric="top-1", before=0.9, after=0.1)
    assert not far_off(full(outputs=outputs(0.9), accuracy=[row]), PruneSettings(ratio=0.5, recover="auto"))
