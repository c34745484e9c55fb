"""Inputs and outputs that the user lets shrink: caches of fewer heads, outputs of fewer features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.channels.plan import PruningPlan
from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.errors import UsageError
from compressor.runtime.stored import run_once
from tests.models import in_memory, model

DECODER = """(float[B,T,16] x, float[B,4,P,4] past_k, float[B,4,P,4] past_v)
    => (float[B,T,k] y, float[B,4,S,4] now_k, float[B,4,S,4] now_v)
    <float[16,16] wq, float[16,16] wk, float[16,16] wv, float[16,16] wo, float[16,6] head,
     int64[4] split = {0,0,4,4}, int64[3] join = {0,0,16}> {
        q1 = MatMul(x, wq)  q2 = Reshape(q1, split)  q = Transpose<perm=[0,2,1,3]>(q2)
        k1 = MatMul(x, wk)  k2 = Reshape(k1, split)  k = Transpose<perm=[0,2,1,3]>(k2)
        v1 = MatMul(x, wv)  v2 = Reshape(v1, split)  v = Transpose<perm=[0,2,1,3]>(v2)
        now_k = Concat<axis=2>(past_k, k)  now_v = Concat<axis=2>(past_v, v)
        kt = Transpose<perm=[0,1,3,2]>(now_k)  s = MatMul(q, kt)  p = Softmax(s)  o = MatMul(p, now_v)
        t = Transpose<perm=[0,2,1,3]>(o)  j = Reshape(t, join)  z = MatMul(j, wo)  y = MatMul(z, head) }"""


def settings(**more: object) -> PruneSettings:
    return PruneSettings.parse({"ratio": 0.5, "round_to": 1, **more})


def decoder(text: str = DECODER) -> ir.Model:
    return in_memory(model(text))


def declared(found: ir.Model) -> dict[str, list[object]]:
    return {str(v.name): [d if isinstance(d, int) else None for d in v.shape or ()]
            for v in [*found.graph.inputs, *found.graph.outputs]}  # fmt: skip


def test_a_cache_keeps_its_heads_unless_they_are_free() -> None:
    assert {r.name: r.removed for r in prune(decoder(), settings()).report.groups} == {"wo": 8}


def test_what_a_cache_holds_is_told() -> None:
    """Queries, keys and values: 3 x 256 of 1120 weights. The middle layers and an output of another shape are not."""
    (told,) = prune(decoder(), settings()).report.warnings
    assert "48 channels of queries, keys and values stay, with 0.69 of the parameters; --cache-heads" in told
    assert not prune(decoder(), settings(cache_heads=True)).report.warnings


def test_heads_of_a_cache_go() -> None:
    result = prune(decoder(), settings(cache_heads=True))
    assert {r.name: r.removed for r in result.report.groups} == {"wq": 8, "wo": 8}
    shapes = declared(result.model)
    assert all(shapes[name] == [None, 2, None, 4] for name in ("past_k", "past_v", "now_k", "now_v"))
    assert result.report.proof is not None
    assert result.report.proof.passed
    assert not result.report.proof.not_proved
    past = np.ones((2, 2, 5, 4), np.float32)
    feeds = {"x": np.ones((2, 3, 16), np.float32), "past_k": past, "past_v": past}
    y, key, _ = run_once(result.model, [feeds], "cpu").outputs[0]
    assert (y.shape, key.shape) == ((2, 3, 6), (2, 2, 8, 4))


def test_a_cache_behind_a_needless_join() -> None:
    """As torch writes it: Concat of one value, and of two."""
    text = DECODER.replace("now_k = Concat<axis=2>(past_k", "c = Concat<axis=2>(past_k)  now_k = Concat<axis=2>(c")
    for simplify in (True, False):
        result = prune(decoder(text), settings(cache_heads=True, simplify=simplify))
        assert declared(result.model)["past_k"] == [None, 2, None, 4]


CODED = DECODER.replace("int64[3] join", "float sx = {0.05}, int8 zero = {3}, int64[3] join").replace(
    "now_k = Concat<axis=2>(past_k, k)",
    "pq = QuantizeLinear(past_k, sx, zero)  kq = QuantizeLinear(k, sx, zero)"
    "  {joined}  now_k = DequantizeLinear(jq, sx, zero)",
)


@pytest.mark.parametrize(
    "joined",
    ["p = DequantizeLinear(pq, sx, zero)  kd = DequantizeLinear(kq, sx, zero)  c = Concat<axis=2>(p, kd)"
     "  jq = QuantizeLinear(c, sx, zero)",
     "jq = com.microsoft.QLinearConcat<axis=2>(sx, zero, pq, sx, zero, kq, sx, zero)"],
)  # fmt: skip
def test_a_cache_behind_quantised_values(joined: str) -> None:
    """As ONNX Runtime's static quantiser writes it, with pairs of nodes or with operators of integers."""
    text = CODED.replace("{joined}", joined).replace("p = Softmax(s)  o = MatMul(p,", "w = Softmax(s)  o = MatMul(w,")
    result = prune(in_memory(model(text, domains=("com.microsoft",))), settings(cache_heads=True))
    assert declared(result.model)["past_k"] == declared(result.model)["now_k"] == [None, 2, None, 4]


def test_what_stays_of_a_cache_is_what_the_original_gives() -> None:
    """Shown by numbers: heads that stay come out as they were, whatever the others held."""
    result = prune(decoder(), settings(cache_heads=True))
    assert result.plan is not None
    (gone,) = [r for r in result.plan.removals if r.group == "wq"]
    heads = [h for h in range(4) if 4 * h not in gone.indices]
    rng = np.random.default_rng(0)
    x, key, value = (rng.normal(size=s).astype(np.float32) for s in ((1, 2, 16), (1, 4, 3, 4), (1, 4, 3, 4)))
    whole = run_once(decoder(), [{"x": x, "past_k": key, "past_v": value}], "cpu").outputs[0]
    part = run_once(result.model, [{"x": x, "past_k": key[:, heads], "past_v": value[:, heads]}], "cpu").outputs[0]
    for one, two in zip(whole[1:], part[1:], strict=True):
        np.testing.assert_allclose(one[:, heads], two, rtol=1e-5, atol=1e-6)


ENCODER = """(float[N,8] x) => (float[N,16] e, float[N,k] y) <float[8,16] w, float[16,6] head> {
    m = MatMul(x, w)  e = Relu(m)  y = MatMul(e, head) }"""


def test_an_output_shrinks() -> None:
    assert prune(in_memory(model(ENCODER.replace("float[16,6] head", "float[16,8] t, float[8,6] head").replace(
        "y = MatMul(e, head)", "z = MatMul(e, t)  y = MatMul(z, head)"))), settings()).model  # fmt: skip
    result = prune(in_memory(model(ENCODER)), settings(free_outputs=("e",)))
    assert {r.name: r.removed for r in result.report.groups} == {"w": 8}
    assert declared(result.model) == {"x": [None, 8], "e": [None, 8], "y": [None, 6]}
    assert result.report.proof is not None
    assert not result.report.proof.not_proved


def test_a_plan_brings_what_is_free(tmp_path: Path) -> None:
    first = prune(in_memory(model(ENCODER)), settings(free_outputs=("e",)))
    assert first.plan is not None
    path = tmp_path / "plan.json"
    path.write_text(first.plan.to_json())
    again = prune(in_memory(model(ENCODER)), settings(), plan=PruningPlan.load(path))
    assert declared(again.model) == declared(first.model)


def test_several_steps() -> None:
    result = prune(decoder(), settings(cache_heads=True, steps=2))
    assert declared(result.model)["past_k"] == [None, 2, None, 4]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"free_outputs": ("nothing",)}, "is no output; the outputs are e, y"),
        ({"cache_heads": True}, "finds no cache"),
        ({"free_outputs": ("e",), "recover": "lstsq"}, "--recover lstsq compares"),
        ({"free_outputs": ("e",), "scope": "loss"}, "--scope loss compares"),
    ],
)
def test_what_cannot_be(more: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prune(in_memory(model(ENCODER)), settings(**more))


def test_from_file_to_file(tmp_path: Path) -> None:
    onnx.save(model(DECODER), tmp_path / "in.onnx")
    prune_file(tmp_path / "in.onnx", tmp_path / "out.onnx", settings(cache_heads=True))
    onnx.checker.check_model(onnx.load(tmp_path / "out.onnx"), full_check=True)
