"""What a unit owns is found wherever it is, and made small there."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from compressor.train import GraphModule  # noqa: E402 -- after the skip
from tests.train.regularizers.case import CHAIN, RESIDUAL, images, subject  # noqa: E402


def test_a_residual_stream_is_one_group() -> None:
    channels = subject(RESIDUAL).channels
    assert channels.names == ("w0", "w1", "w3")
    stream = {(h.name, h.role) for h in channels.holdings if (h.members < 8).any()}
    assert stream == {
        ("w0", "out"), ("b0", "affine"), ("w1", "in"), ("w2", "out"), ("b2", "affine"), ("w3", "in"), ("w4", "out"),
        ("head", "in"),
    }  # fmt: skip


def test_energy_counts_every_weight_once() -> None:
    of = subject(RESIDUAL)
    weights = {n: t.detach() for n, t in GraphModule(of.analysis.model).tensors().items()}
    energy = of.channels.energy(weights, of.channels.holdings)
    one = sum(float(weights[n][2].square().sum()) for n in ("w0", "b0", "w2", "b2", "w4"))
    two = sum(float(weights[n][:, 2].square().sum()) for n in ("w1", "w3")) + float(weights["head"][2].square().sum())
    assert float(energy[2]) == pytest.approx(one + two, rel=1e-5)
    assert int(of.channels.amount(weights, of.channels.of("out"))[0]) == 27 + 72 + 72


def test_without_what_goes_it_computes_what_the_smaller_one_does() -> None:
    of = subject(CHAIN)
    module = GraphModule(of.analysis.model).eval()
    before = {n: t.detach().clone() for n, t in module.tensors().items()}
    x = images(2, 1)
    with torch.no_grad():
        dense = module(x)
        with of.channels.without_gone(module.tensors()):
            masked = module(x)
    gone = of.channels.gone
    assert not torch.allclose(dense, masked)
    assert all(torch.equal(t, before[n]) for n, t in module.tensors().items()), "everything is as it was"
    with torch.no_grad():
        module.tensors()["head"][gone[8:]] = 0
        module.tensors()["w2"][:, gone[:8]] = 0
    torch.testing.assert_close(module(x), masked, atol=1e-6, rtol=1e-5)


def test_the_weakest_of_each_group() -> None:
    channels = subject(CHAIN).channels
    scores = torch.arange(16.0).flip(0)
    chosen = channels.weakest(scores, [2, 1])
    assert chosen.nonzero().reshape(-1).tolist() == [6, 7, 15]
    assert channels.counts() == [4, 4]
    assert channels.ratio == 0.5
    np.testing.assert_allclose(channels.group_extreme(scores, "amax").unique(), [7, 15])
    np.testing.assert_allclose(channels.group_mean(scores).unique(), [3.5, 11.5])
