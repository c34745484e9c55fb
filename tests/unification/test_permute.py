from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.commands import unify
from compressor.config import UnifySettings
from compressor.unification import permute
from tests import models

CHAIN = """
    (float[n,8,6,6] x) => (float[n,k] y)
    <float[16,8,3,3] first, float[16] bias, float[16,16,3,3] w, float[16,16,1,1] v, float[16,4] last,
     int64[2] flat = {0,-1}> {
        a = Conv<pads=[1,1,1,1]>(x, first, bias)  r = Relu(a)
        b = Conv<pads=[1,1,1,1]>(r, w)            c = Add(b, r)
        d = Conv(c, v)                            e = GlobalAveragePool(d)
        f = Reshape(e, flat)                      y = MatMul(f, last) }"""
FLAT = """
    (float[n,8,2,2] x) => (float[n,k] y)
    <float[16,8,1,1] first, float[64,16] w, float[16,4] last, int64[2] flat = {0,-1}> {
        a = Conv(x, first)  r = Relu(a)  f = Reshape(r, flat)  b = MatMul(f, w)  y = MatMul(b, last) }"""
JOINED = """
    (float[n,8,4,4] x) => (float[n,k,4,4] y)
    <float[16,8,1,1] one, float[16,8,1,1] two, float[16,32,1,1] w, float[4,16,1,1] last> {
        a = Conv(x, one)  b = Conv(x, two)  c = Concat<axis=1>(a, b)  d = Conv(c, w)  y = Conv(d, last) }"""
SHUFFLED = """
    (float[n,8,4,4] x) => (float[n,k,4,4] y)
    <float[16,8,1,1] one, float[16,16,1,1] w, float[4,16,1,1] last, int64[2] half = {8,8}> {
        a = Conv(x, one)  l, r = Split<axis=1>(a, half)  c = Concat<axis=1>(r, l)  d = Conv(c, w)
        y = Conv(d, last) }"""


def permuted(text: str, **values: Any) -> tuple[ir.Model, unify.UnifyResult]:
    source = models.in_memory(models.model(text))
    chosen = UnifySettings.parse({"min_weights": 16, "permute": True, "all_layers": True, **values})
    return source, unify.unify(source, chosen)


@pytest.mark.parametrize(("text", "least"), [(CHAIN, 2), (FLAT, 2), (JOINED, 3)])
def test_channels_move_together_and_the_damage_falls(text: str, least: int) -> None:
    source, result = permuted(text)
    rows = result.report.permuted
    assert len(rows) >= least
    assert all(row.after < row.before for row in rows)
    plain = unify.unify(source, UnifySettings(min_weights=16, all_layers=True))
    error = [sum(row.error**2 for row in r.report.layers) for r in (result, plain)]
    assert error[0] < error[1]


def test_a_group_that_is_split_and_swapped_stays_in_order() -> None:
    _, result = permuted(SHUFFLED)
    assert "one" not in {row.name for row in result.report.permuted}


def test_a_wrong_move_is_caught_by_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    move = permute.move

    def forgetful(place: Any, order: Any) -> None:
        if place.value.name != "bias":
            move(place, order)

    monkeypatch.setattr(permute, "move", forgetful)
    with pytest.raises(Exception, match="is off by"):
        permuted(CHAIN)


def test_blocks_hold_like_beside_like() -> None:
    """Columns of two sizes, interleaved: reordered, every block holds one size."""
    proto = models.model(CHAIN)
    weight = next(t for t in proto.graph.initializer if t.name == "v")
    sizes = np.where(np.arange(16) % 2, 1.0, 9.0).astype(np.float32)
    signs = np.sign(np.random.default_rng(0).standard_normal((16, 16))).astype(np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array((signs * sizes)[:, :, None, None], "v"))
    settings = UnifySettings(min_weights=16, permute=True, include=("v",), block="1x8")
    result = unify.unify(models.in_memory(proto), settings)
    assert result.report.layers[0].error < 1e-6
