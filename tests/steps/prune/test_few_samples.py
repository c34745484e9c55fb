"""A handful of given samples is filled up with made-up ones, and the report says so."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.data import Batch
from compressor.data.batch import Indices
from compressor.steps.prune.few_samples import AMPLE, JoinedSamples

NET = Path(__file__).parents[3] / "models" / "digits-resnet.onnx"
TRAIN, TEST = (NET.with_name(f"digits-{part}.npz") for part in ("train", "test"))


class Numbers:
    """Samples that are numbers from ``start`` on."""

    labelled = True

    def __init__(self, start: int, count: int) -> None:
        self.values = np.arange(start, start + count, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Indices) -> Batch:
        # As np.stack does of a data set that reads one sample after the other.
        assert len(indices), "need at least one array to stack"
        return Batch({"x": self.values[indices], "step": np.asarray(1.0)}, self.values[indices])


def test_samples_of_both_come_in_the_order_asked_for() -> None:
    joined = JoinedSamples(Numbers(0, 2), Numbers(10, 3), times=2)
    assert len(joined) == 7
    batch = joined.take(np.asarray([6, 0, 4, 3, 2]))
    assert batch.inputs["x"].tolist() == [12, 0, 10, 1, 0]
    assert batch.labels is None
    assert joined.take(np.asarray([5])).inputs["x"].tolist() == [11]


@pytest.mark.parametrize("count", [4, AMPLE])
def test_few_samples_do_not_ruin_a_model(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(import_module("compressor.train.brief"), "STEPS", 32)  # as on a slow machine
    with np.load(TRAIN) as held:
        arrays = {name: held[name][:count] for name in held.files}
    np.savez(tmp_path / "few.npz", **arrays)
    asked = {
        "ratio": 0.5,
        "recover": "auto",
        "scope": "local",
        "data": str(tmp_path / "few.npz"),
        "val_data": str(TEST),
    }
    report = prune(NET, PruneSettings.parse(asked)).report
    said = " ".join(report.warnings)
    assert ("made-up ones were added" in said) is (count < AMPLE)
    assert ("not trained after least squares, as there are 64 samples" in said) is (count == AMPLE)
    assert report.done["recover"] == ("distill" if count < AMPLE else "lstsq")
    assert report.accuracy[0].after > 0.8  # 0.32 of four samples alone
