"""The W, Z, V loop over whole channels: what it pulls, what it leaves, and what comes back."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from compressor.train.regularizers.channel_admm import ChannelAdmm  # noqa: E402 -- after the skip
from compressor.train.regularizers.coupled_channels import CoupledChannels  # noqa: E402
from tests.train.regularizers.case import RESIDUAL, started, subject  # noqa: E402


def energies(channels: CoupledChannels, module: torch.nn.Module) -> torch.Tensor:
    return channels.energy({n: p.detach() for n, p in module.named_parameters()}, channels.holdings)


def test_the_weakest_units_are_pulled_to_zero_and_others_left_alone() -> None:
    of = subject(RESIDUAL)
    method = ChannelAdmm(of)
    module = started(method, of, steps=100)
    before, weights = energies(of.channels, module), dict(module.named_parameters())
    weakest, w1 = method.weakest(weights), weights["w1"].detach().clone()
    for step in range(1, 70):
        method.after_step(module, step)
    assert method.chosen() is None, "it is not fixed yet"
    left = energies(of.channels, module) / before
    assert float(left[weakest].max()) < 0.05
    # By both axes: what a unit that stays shares with one that goes shrinks with that.
    rows, columns = ~weakest[8:16], ~weakest[:8]
    assert torch.equal(weights["w1"][rows][:, columns], w1[rows][:, columns])
    method.after_step(module, 70)
    assert torch.equal(method.chosen(), weakest)


def test_a_unit_that_the_loss_holds_on_to_comes_back() -> None:
    """What a loss that insists does: it gives the unit its weights back after every step."""
    of = subject(RESIDUAL)
    method = ChannelAdmm(of)
    module = started(method, of, steps=100)
    weights = dict(module.named_parameters())
    group = of.channels.group == 0
    gone = method.weakest(weights)
    held = int((gone & group).nonzero()[-1])
    names = ("w0", "w2", "w4")
    kept = {n: weights[n].detach()[held].clone() for n in names}
    for step in range(1, 71):
        method.after_step(module, step)
        if step < 70:
            for name in names:
                weights[name].data[held] = kept[name]
    chosen = method.chosen()
    assert chosen is not None
    assert gone[held]
    assert not chosen[held]
    assert int((chosen & group).sum()) == int((gone & group).sum()), "another one goes in its place"


def test_a_strength_is_the_pull_of_the_first_interval() -> None:
    """With it alone the gap to Z - V shrinks by exp(-pull) until the first refresh."""
    of = subject(RESIDUAL, strength=0.5)
    method = ChannelAdmm(of)
    module = started(method, of, steps=4300)
    before, weakest = energies(of.channels, module), method.weakest(dict(module.named_parameters()))
    only = weakest.clone()
    interval = 3010 // 30
    for step in range(1, interval):
        method.after_step(module, step)
    left = (energies(of.channels, module) / before)[only].sqrt()
    assert float(left.min()) == pytest.approx(2.718281828**-0.5, rel=0.02)
