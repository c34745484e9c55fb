"""Fresh weights have the size that their layer's kind calls for, and are the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.config import PruneSettings
from compressor.errors import UsageError
from compressor.pruning.fresh_weights import reinitialised
from compressor.runtime.stored import run_once
from tests.models import in_memory, model, weight

TEXT = """
    (float[n,16,6,6] x) => (float[n,c] y)
    <float[64,16,3,3] w1, float[64] b1, float[64] s1, float[64] beta1, float[64] mean1, float[64] svar1,
     float[64,64,3,3] w2, float[64,64,3,3] w3, float[64,40] head> {
        a = Conv<pads=[1,1,1,1]>(x, w1, b1)  n = BatchNormalization(a, s1, beta1, mean1, svar1)  r = Relu(n)
        b = Conv<pads=[1,1,1,1]>(r, w2)  t = Tanh(b)
        c = Conv<pads=[1,1,1,1]>(t, w3)  h = Add(c, r)
        p = GlobalAveragePool(h)  f = Flatten(p)  y = MatMul(f, head)
    }"""


def test_sizes_follow_from_the_kind_of_the_layer() -> None:
    fresh = reinitialised(in_memory(model(TEXT)), 0)
    assert weight(fresh, "w1").std() == pytest.approx((2 / 144) ** 0.5, rel=0.03), "a rectifier follows the norm"
    assert weight(fresh, "w2").std() == pytest.approx((1 / 576) ** 0.5, rel=0.03), "Tanh follows"
    assert weight(fresh, "w3").std() == pytest.approx((2 / 576) ** 0.5, rel=0.03), "one sum, whose result is added"
    assert weight(fresh, "head").std() == pytest.approx((1 / 64) ** 0.5, rel=0.1)
    assert not weight(fresh, "b1").any()
    assert (weight(fresh, "s1") == 1).all()
    assert (weight(fresh, "svar1") == 1).all()
    assert not weight(fresh, "beta1").any()
    assert not weight(fresh, "mean1").any()


def test_a_seed_gives_the_same_weights_whatever_the_old_ones_were() -> None:
    source = in_memory(model(TEXT))
    other = in_memory(model(TEXT, seed=5))
    one, two, third = reinitialised(source, 1), reinitialised(other, 1), reinitialised(source, 2)
    assert np.array_equal(weight(one, "w1"), weight(two, "w1"))
    assert not np.array_equal(weight(one, "w1"), weight(third, "w1"))
    assert not np.array_equal(weight(one, "w1"), weight(source, "w1"))


def test_the_variance_of_a_deep_residual_stream_stays() -> None:
    blocks = " ".join(
        f"a{k} = Conv<pads=[1,1,1,1]>(h{k}, w{k})  r{k} = Relu(a{k})  b{k} = Conv<pads=[1,1,1,1]>(r{k}, v{k})  "
        f"h{k + 1} = Add(b{k}, h{k})"
        for k in range(8)
    )
    weights = ", ".join(f"float[32,32,3,3] w{k}, float[32,32,3,3] v{k}" for k in range(8))
    text = f"(float[2,32,12,12] x) => (float[2,32,12,12] y) <{weights}> {{ h0 = Relu(x)  {blocks}  y = Relu(h8) }}"
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 32, 12, 12)).astype(np.float32)}
    found = run_once(reinitialised(in_memory(model(text)), 0), [feeds], "cpu").outputs[0][0]
    assert 0.3 < float(np.sqrt(np.mean(np.square(found, dtype=np.float64)))) < 5


def test_what_forgets_has_to_train() -> None:
    with pytest.raises(UsageError, match="needs --recover finetune"):
        PruneSettings.parse({"ratio": 0.5, "recover": "lstsq", "reinitialise": "after"})


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_gates_are_fresh_by_all_that_they_read(kind: str, gates: int, directions: int) -> None:
    rows, way = gates * 64, "bidirectional" if directions == 2 else "forward"
    text = f"""(float[5,2,36] x) => (float y)
        <float[{directions},{rows},36] w, float[{directions},{rows},64] r, float[{directions},{2 * rows}] b,
         float[{directions},2,64] h> {{
        y = {kind}<hidden_size=64, direction="{way}">(x, w, r, b, , h) }}"""
    source = in_memory(model(text))
    fresh = reinitialised(source, 0)
    for name in ("w", "r"):
        assert (weight(fresh, name) != weight(source, name)).mean() > 0.99
        assert weight(fresh, name).std() == pytest.approx((1 / 100) ** 0.5, rel=0.05)
    assert not weight(fresh, "b").any()
    assert np.array_equal(weight(fresh, "h"), weight(source, "h")), "a first state is no weight"


def test_what_is_added_to_a_product_is_its_bias() -> None:
    text = """(float[n,8] x) => (float[n,8] y) <float[8,8] w, float[8] b, float[8] s, float[1,8] c> {
        m = MatMul(x, w)  a = Add(m, b)  t = Tanh(a)  d = Add(c, t)  y = Mul(d, s) }"""
    source = in_memory(model(text))
    fresh = reinitialised(source, 0)
    assert not weight(fresh, "b").any()
    for name in ("s", "c"):
        assert np.array_equal(weight(fresh, name), weight(source, name)), "behind an activation it is no bias"
