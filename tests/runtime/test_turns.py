"""Times of operators as shares of a run of another model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.errors import ProviderUnavailable
from compressor.runtime import turns
from compressor.runtime.sessions import Setup
from tests.models import model

ONE = Setup(threads=1)


def net(folder: Path, name: str, width: int) -> Path:
    text = f"""(float[1,32,32,32] x) => (float y) <float[{width},32,3,3] w, float[8,{width},1,1] v> {{
        a = Conv<pads=[1,1,1,1]>(x, w)  b = Relu(a)  y = Conv(b, v) }}"""
    onnx.save(model(text), str(folder / name))
    return folder / name


@pytest.fixture
def feeds():
    return {"x": np.random.default_rng(0).standard_normal((1, 32, 32, 32)).astype(np.float32)}


def test_the_same_model_takes_the_whole(tmp_path, feeds):
    one = net(tmp_path, "one.onnx", 64)
    found = turns.operator_shares(one, one, "cpu", feeds, ONE)
    assert sum(found.values()) == pytest.approx(1.0, rel=0.3)
    assert all(share >= 0 for share in found.values())
    assert any("Conv_2" in name or name.startswith("y") for name in found)


def test_a_narrower_model_takes_less(tmp_path, feeds):
    found = turns.operator_shares(net(tmp_path, "wide.onnx", 256), net(tmp_path, "narrow.onnx", 32), "cpu", feeds, ONE)
    assert sum(found.values()) < 0.5


def test_launches_are_scaled_to_whole_runs(monkeypatch, tmp_path, feeds):
    """As on an accelerator whose kernels the runtime does not time."""

    def in_turns(sessions, feeds):
        for session in sessions:
            for _ in range(turns.WARMUP + 2):
                session.run(None, feeds)
        return [2.0, 0.5]

    monkeypatch.setattr(turns, "_in_turns", in_turns)
    monkeypatch.setattr(turns, "CPU", "another one")
    one = net(tmp_path, "one.onnx", 64)
    found = turns.operator_shares(one, one, "cpu", feeds, ONE)
    assert sum(found.values()) == pytest.approx(0.25)


def test_a_missing_provider(tmp_path, feeds):
    one = net(tmp_path, "one.onnx", 64)
    with pytest.raises(ProviderUnavailable, match="NoSuch"):
        turns.operator_shares(one, one, "NoSuchExecutionProvider", feeds, ONE)
