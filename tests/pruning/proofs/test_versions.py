"""Versions of a model give the same in one session as in sessions of their own."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from compressor.pruning.proofs import versions as versions_module
from compressor.pruning.proofs.versions import Versions, affordable
from compressor.runtime.stored import Feed
from tests.models import between, in_memory, model, unloadable

FEED: Feed = {"x": np.random.default_rng(0).normal(size=(3, 4, 6, 6)).astype(np.float32)}


def source() -> ir.Model:
    return in_memory(between("b = Relu(a)"))


def changed(model: ir.Model, name: str) -> dict[str, ir.TensorProtocol]:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return {name: ir.tensor(np.roll(tensor.numpy(), 1), name=name)}


def test_one_session_gives_what_each_gives_alone(tmp_path: Path) -> None:
    model = source()
    names = sorted(model.graph.initializers)
    alone = Versions(model, tmp_path, "cpu")
    together = alone.in_one_session(names, lambda _: True)
    assert together.shared is not None
    given = {name: value.const_value for name, value in model.graph.initializers.items()}
    found = []
    for weights in [{}, *(changed(model, name) for name in names), {}]:
        one, other = alone.open(weights).run([FEED]), together.open(weights).run([FEED])
        assert (one.names, one.feeds) == (other.names, other.feeds)
        np.testing.assert_allclose(one.outputs[0][0], other.outputs[0][0], rtol=1e-6)
        found.append(other.outputs[0][0])
    assert all(not np.array_equal(found[0], other) for other in found[1:-1])
    np.testing.assert_array_equal(found[0], found[-1])
    assert given == {name: value.const_value for name, value in model.graph.initializers.items()}


@pytest.mark.parametrize("why", ["wrong", "refused", "large"])
def test_sessions_of_their_own_where_one_does_not_do(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = unloadable(source()) if why == "refused" else source()
    if why == "large":
        monkeypatch.setattr(versions_module, "runs_whole", lambda _: False)
    assert Versions(model, tmp_path, "cpu").in_one_session(["w"], lambda _: why != "wrong").shared is None


def test_weights_that_share_bytes_are_no_inputs(tmp_path: Path) -> None:
    """numpy has no array of them that a session takes."""
    text = "(float[3,4] x) => (float y) <int4[4,8] w, float s> { k = DequantizeLinear(w, s)  y = MatMul(x, k) }"
    packed = in_memory(model(text, opset=21))
    w = np.ones((4, 8), ml_dtypes.int4)
    packed.graph.initializers["w"].const_value = ir.tensor(w, name="w")
    versions = Versions(packed, tmp_path, "cpu")
    assert versions.in_one_session(["s"], lambda _: True).shared is not None
    assert versions.in_one_session(["s", "w"], lambda _: True).shared is None


@pytest.mark.parametrize("shared", [False, True])
def test_as_many_as_effort_allows_are_run_alone(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = source()
    for name in ("NODE_EFFORT", "PARAMETER_EFFORT", "CALL_EFFORT"):
        monkeypatch.setattr(versions_module, name, 0)
    for runs, alone in {0: 0, 1: 0, 2: 1, 9: 8, 10: 10}.items():
        monkeypatch.setattr(versions_module, "EFFORT", 7 * runs)
        assert affordable(10, model, 7, shared=shared) == alone


def test_a_session_that_is_shared_costs_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model = source()
    monkeypatch.setattr(versions_module, "PARAMETER_EFFORT", 0)
    monkeypatch.setattr(versions_module, "CALL_EFFORT", 0)
    monkeypatch.setattr(versions_module, "EFFORT", 3 * versions_module.NODE_EFFORT * model.graph.num_nodes())
    assert affordable(10, model, 1, shared=False) == 1
    assert affordable(10, model, 1, shared=True) == 10
