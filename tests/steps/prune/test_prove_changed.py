"""Layers that changed are proved as they were written, and a small fault in that is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.channels.channel_mask import ChannelMask
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.errors import ModelError, ProofFailed
from compressor.pruning.cut.analysis import Analysis, analyse
from compressor.pruning.proofs import versions
from compressor.reconstruct import ReconstructOptions
from compressor.runtime.stored import Ready
from compressor.steps.prune.prove_changed import prove_changed
from compressor.structures import canary as layer_canary
from compressor.structures.apply import Calibration, Changed, change_layers
from compressor.structures.layer.judged import Weighting
from compressor.structures.lowrank.thinned import Thinned
from tests.models import in_memory, model
from tests.reconstruct.case import noise
from tests.steps.prune.layer_case import NET, masked, settings_of


@pytest.fixture
def data(tmp_path: Path) -> str:
    np.savez(tmp_path / "data.npz", x=noise(64, 3, 8, 8))
    return str(tmp_path / "data.npz")


SATURATED = NET.replace("y = Gemm(j, m, c)", "k = Gemm(j, m, c)  l = Mul(k, huge)  y = Sin(l)").replace(
    "float[10] c>", "float[10] c, float huge = {1000000.0}>"
)


def _thinned(text: str, settings: PruneSettings) -> tuple[Changed, Analysis]:
    """The net with one convolution as two of rank 4."""
    analysis = analyse(in_memory(model(text)), settings)
    metrics = (Weighting(np.eye(144), np.eye(16)),)
    cut = ChannelMask(analysis.coupling, np.zeros(0, np.int64))
    how = Calibration(None, "lstsq", ReconstructOptions())
    changes = {"Conv_2": Thinned("inputs", 4, 16, metrics)}
    return change_layers(analysis.model.clone(), analysis.model.clone(), cut, changes, how, settings), analysis


def test_a_small_fault_behind_outputs_that_rounding_decides_is_noticed() -> None:
    settings = settings_of(target_macs=0.6)
    changed, found = _thinned(SATURATED, settings)
    (evidence,) = prove_changed(changed, found, settings, Clock())
    assert evidence.tolerance > 0.1, "the outputs say little"
    assert [item.group for item in evidence.not_proved] == ["y"], "and that is said"
    weight = changed.model.graph.initializers[changed.layers[0].weights[0]]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.001), name=weight.name)
    with pytest.raises(ProofFailed, match=r"layer 'Conv_2' computes is off by 0\.001"):
        prove_changed(changed, found, settings, Clock())


def test_a_layer_written_wrongly_is_noticed() -> None:
    settings = settings_of(target_macs=0.6)
    changed, found = _thinned(NET, settings)
    (evidence,) = prove_changed(changed, found, settings, Clock())
    assert evidence.passed
    assert evidence.noticed == 1
    weight = changed.model.graph.initializers[changed.layers[0].weights[0]]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy()[::-1].copy(), name=weight.name)
    with pytest.raises(ProofFailed):
        prove_changed(changed, found, settings, Clock())


def test_layers_that_were_shifted_together_are_named(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "EFFORT", 0)
    report = masked("groups", data, lower="always", target_macs=0.35).report
    assert report.proof is not None
    assert len(report.changed) > 1
    assert report.proof.noticed == 1
    assert report.proof.shifted_together == [row.node for row in report.changed]


def test_a_wrong_layer_that_does_not_run_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(target_macs=0.6)
    changed, found = _thinned(NET, settings)
    honest = versions.Versions.open

    def refused(made: versions.Versions, weights: versions.OtherWeights) -> Ready:
        if weights:
            raise ModelError("no")
        return honest(made, weights)

    monkeypatch.setattr(versions.Versions, "open", refused)
    (evidence,) = prove_changed(changed, found, settings, Clock())
    assert evidence.noticed == 0
    assert [item.reason for item in evidence.not_proved] == [layer_canary.WEIGHTS_UNSEEN]
