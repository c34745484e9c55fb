"""Orders of channels that neighbours take up: the same outputs with fewer moves, and a wrong one is noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.channels.channel_mask import ChannelMask
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.errors import ProofFailed
from compressor.pruning.cut.analysis import Analysis, analyse
from compressor.reconstruct import ReconstructOptions
from compressor.steps.prune.prove_changed import prove_changed
from compressor.structures import reorder
from compressor.structures.apply import Calibration, Changed, change_layers
from compressor.structures.layer.layers import candidate_layers
from compressor.structures.masks.masked import MaskOption
from compressor.structures.masks.nm import NofM
from compressor.structures.reorder import movable
from tests.models import in_memory, model
from tests.reconstruct.case import noise, outputs

TEXT = """(float[N,3,6,6] x) => (float[N,5,6,6] y)
<float[16,3,1,1] w, float[16] b, float[32,16,3,3] v, float[32] c, float[5,32,1,1] u> {
    a = Conv(x, w, b)
    d = Relu(a)
    e = Conv<pads=[1,1,1,1]>(d, v, c)
    f = Relu(e)
    y = Conv(f, u)
}"""
SEEN = TEXT.replace("(float[N,5,6,6] y)", "(float[N,5,6,6] y, float[N,16,6,6] d, float[N,32,6,6] f)")
FEEDS = {"x": noise(2, 3, 6, 6)}
SETTINGS = PruneSettings.parse({"structure": "groups", "target_macs": 0.5})


def _scattered() -> np.ndarray:
    """Two groups of filters that read channels of their own, both in no order."""
    rng = np.random.default_rng(0)
    outs, ins = rng.permutation(np.repeat([0, 1], 16)), rng.permutation(np.repeat([0, 1], 8))
    return np.broadcast_to((outs[:, None] == ins)[:, :, None, None], (32, 16, 3, 3)).copy()


def _changed(text: str, option: MaskOption, **how: Any) -> tuple[Changed, Analysis]:
    analysis = analyse(in_memory(model(text)), SETTINGS)
    cut = ChannelMask(analysis.coupling, np.zeros(0, np.int64))
    calibration = Calibration(None, "lstsq", ReconstructOptions(), **how)
    return change_layers(
        analysis.model.clone(), analysis.model, cut, {"Conv_2": option}, calibration, SETTINGS
    ), analysis


def _kinds(source: ir.Model) -> list[str]:
    return [node.op_type for node in source.graph]


def test_neighbours_take_up_the_order_and_nothing_is_moved() -> None:
    changed, found = _changed(TEXT, MaskOption.of("", _scattered()))
    assert _kinds(changed.model) == ["Conv", "Relu", "Conv", "Relu", "Conv"]
    plain, _ = _changed(TEXT, MaskOption.of("", _scattered()), reorder=False)
    assert _kinds(plain.model).count("Gather") == 2
    assert plain.unordered is None
    (want,), (got,) = outputs(plain.reference, FEEDS), outputs(changed.model, FEEDS)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
    order, evidence = prove_changed(changed, found, SETTINGS, Clock())
    assert order.passed
    assert evidence.passed


def test_channels_that_somebody_sees_stay_where_they_are() -> None:
    changed, _ = _changed(SEEN, MaskOption.of("", _scattered()))
    assert _kinds(changed.model).count("Gather") == 2
    assert changed.unordered is None


def test_one_place_that_is_forgotten_fails_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    real = reorder.move
    monkeypatch.setattr(reorder, "move", lambda place, order: None if place.value.name == "b" else real(place, order))
    changed, found = _changed(TEXT, MaskOption.of("", _scattered()))
    with pytest.raises(ProofFailed):
        prove_changed(changed, found, SETTINGS, Clock())


def test_overlapping_sets_are_read_in_runs() -> None:
    mask = np.zeros((32, 16, 3, 3), np.bool_)
    channels = np.random.default_rng(0).permutation(16)
    mask[:16, channels[:12]] = mask[16:, channels[4:]] = True
    changed, _ = _changed(TEXT, MaskOption.of("", mask))
    kinds = _kinds(changed.model)
    assert kinds.count("Slice") == 2 or "Gather" in kinds
    plain, _ = _changed(TEXT, MaskOption.of("", mask), reorder=False)
    assert kinds.count("Gather") < _kinds(plain.model).count("Gather") or kinds.count("Gather") == 1


def test_n_of_m_stands_in_the_order_that_keeps_most() -> None:
    analysis = analyse(in_memory(model(TEXT)), SETTINGS)
    layers, _ = candidate_layers(analysis.model, analysis.coupling)
    assert movable(analysis.coupling, layers) == {"Conv_2", "Conv_4"}
    energy = np.square(noise(32, 16, 3, 3)).astype(np.float64)
    energy[:, :4] *= 10
    order = NofM().order(energy, 0)
    (_, (_, mask), _) = NofM().masks(energy[:, order], 0)
    (_, (_, plain), _) = NofM().masks(energy, 0)
    assert energy[:, order][mask].sum() > 1.05 * energy[plain].sum()
    changed, _ = _changed(TEXT, MaskOption.of("", mask[:, np.argsort(order)], order))
    kept = changed.reference.graph.initializers["v"].const_value.numpy() != 0  # type: ignore[union-attr]
    assert (kept.reshape(32, 4, 4, 9).sum(axis=2) == 2).all()
    assert "Gather" not in _kinds(changed.model)
