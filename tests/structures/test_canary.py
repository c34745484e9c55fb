"""Layers that were written wrongly on purpose are noticed, each by itself or along with others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.core.compare import Tolerance
from compressor.errors import ProofFailed
from compressor.pruning.proofs import versions
from compressor.pruning.proofs.outputs.evidence import Noticed
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.runtime.stored import Feed, run_once
from compressor.structures.apply import Changed, ChangedLayer
from compressor.structures.canary import WEIGHTS_UNSEEN, try_wrong_weights
from compressor.structures.layer.change import Written
from compressor.structures.layer.geometry import Geometry
from tests.models import in_memory, model

NET = """(float[3,4,6,6] x) => (float y) <float[16,4,3,3] w, float[8,16,1,1] v, float[2,8,1,1] u, float gain,
    float[4,4] unread> {
    a = Conv(x, w)  b = Relu(a)  c = Conv(b, v)  d = Relu(c)  e = Conv(d, u)  y = Mul(e, gain) }"""
FEED: Feed = {"x": np.random.default_rng(0).normal(size=(3, 4, 6, 6)).astype(np.float32)}


def tried(folder: Path, weights: tuple[str, ...], *, gain: float = 1.0, fault: float = 0.0) -> Noticed:
    """What is noticed of the first layers of a net, where they are said to be written as these weights."""
    reference = in_memory(model(NET))
    reference.graph.initializers["gain"].const_value = ir.tensor(np.float32(gain), name="gain")
    wrong = reference.clone()
    tensor = wrong.graph.initializers["v"].const_value
    assert tensor is not None
    wrong.graph.initializers["v"].const_value = ir.tensor(tensor.numpy() * np.float32(1 + fault), name="v")
    sizes = Geometry(1, 4, 16, 9, 36, 16, 16)
    nodes = [str(node.name) for node in reference.graph if node.op_type == "Conv"]
    layers = tuple(
        ChangedLayer(node, "", sizes, 0, 0, Written((name,))) for node, name in zip(nodes, weights, strict=False)
    )
    standard = Standard(run_once(reference, [FEED], "cpu"), Tolerance(1e-4))
    return try_wrong_weights(Changed(wrong, reference, layers, (), {}), standard, folder, "cpu")


@pytest.mark.parametrize("gain", [1.0, 0.0])
def test_every_layer_is_noticed_at_the_outputs_or_behind_them(gain: float, tmp_path: Path) -> None:
    assert tried(tmp_path, ("w", "v", "u"), gain=gain) == Noticed(3, [], [])


def test_a_fault_behind_blind_outputs_is_found(tmp_path: Path) -> None:
    with pytest.raises(ProofFailed, match="what layer 'Conv_2' computes is off"):
        tried(tmp_path, ("w", "v", "u"), gain=0.0, fault=0.01)


def test_weights_that_nothing_reads_are_not_proved(tmp_path: Path) -> None:
    found = tried(tmp_path, ("w", "unread"))
    assert (found.count, [(row.group, row.reason) for row in found.missing]) == (1, [("Conv_2", WEIGHTS_UNSEEN)])


def test_layers_are_shifted_together_where_that_is_dear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "EFFORT", 0)
    assert tried(tmp_path, ("w", "v", "u")) == Noticed(1, [], ["Conv_0", "Conv_2", "Conv_4"])
    # One weight cannot be shifted for two layers at once and be right for one of them.
    assert tried(tmp_path, ("w", "w", "u")) == Noticed(2, [], ["Conv_2", "Conv_4"])
