"""A refit of the last layer in a pruning run: asked for, told, and refused without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import UsageError
from tests.models import in_memory, model, weight
from tests.reconstruct.case import HEAD, images, outputs


def settings(tmp_path: Path, *, labels: bool, **more: Any) -> PruneSettings:
    x = images()
    scores = np.log(outputs(in_memory(model(HEAD)), {"x": x})[0])
    # Classes are about the mean of the scores, which the layer as it is does not know.
    named = {"y": (scores - scores.mean(axis=0)).argmax(axis=1)} if labels else {}
    np.savez(tmp_path / "x.npz", x=x, **named)
    asked = {"ratio": 0.5, "round_to": 1, "recover": "none", "refit_last": True, "data": str(tmp_path / "x.npz")}
    return PruneSettings.parse({**asked, "val_share": 0.2, **more})


def test_it_is_done_and_told(tmp_path: Path) -> None:
    source = in_memory(model(HEAD))
    result = prune(source, settings(tmp_path, labels=True))
    plain = prune(source, settings(tmp_path, labels=True, refit_last=False))
    assert any("fitted layer" in text and "are missed now" in text for text in result.report.warnings)
    assert not np.array_equal(weight(result.model, "head"), weight(plain.model, "head"))
    [fitted], [cut] = result.report.accuracy, plain.report.accuracy
    assert fitted.after > cut.after
    assert result.proved
    assert result.evidence is None, "what was proved is the model before it was fitted"


@pytest.mark.parametrize(
    ("labels", "more", "words"),
    [
        (False, {}, "--refit-last learns from labels, and the data has none"),
        (True, {"data": None}, "--refit-last learns"),
    ],
)
def test_without_labels_it_is_refused_before_any_work(
    labels: bool, more: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("compressor.commands.prune.PruningRun.of")
    with pytest.raises(UsageError, match=words):
        prune(in_memory(model(HEAD)), settings(tmp_path, labels=labels, **more))
