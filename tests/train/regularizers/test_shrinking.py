"""Whole channels come to zero, as many of each group as the plan takes, whichever are weakest."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from compressor.train.regularizers.channel_admm import ChannelAdmm  # noqa: E402 -- after the skip
from compressor.train.regularizers.shrinking import FIXED_AFTER, ChannelEnvelope, ChannelSet, ChannelShrinkage  # noqa: E402
from tests.train.regularizers.case import RESIDUAL, started, subject  # noqa: E402

KINDS = (ChannelShrinkage, ChannelEnvelope, ChannelAdmm)


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_are_zero_as_the_plan_takes(kind: type[ChannelSet]) -> None:
    of = subject(RESIDUAL)
    method = kind(of)
    module = started(method, of, steps=20)
    for step in range(1, 21):
        method.after_step(module, step)
    chosen = method.chosen()
    assert chosen is not None
    energy = of.channels.energy(module.tensors(), of.channels.holdings)
    assert torch.equal(energy == 0, chosen)
    assert torch.bincount(of.channels.group[chosen]).tolist() == of.channels.counts()


def test_a_unit_may_leave_the_selection_until_that_is_fixed() -> None:
    of = subject(RESIDUAL)
    method = ChannelShrinkage(of)
    module = started(method, of, steps=20)
    method.after_step(module, 1)
    weak = int(of.channels.energy(module.tensors(), of.channels.holdings)[:8].argmin())
    for name in ("w0", "w2", "w4"):
        module.tensors()[name].data[weak] *= 100
    for step in range(2, 21):
        method.after_step(module, step)
    chosen = method.chosen()
    assert chosen is not None
    assert not chosen[weak]


def test_what_is_fixed_stays_zero_whatever_training_does() -> None:
    of = subject(RESIDUAL)
    method = ChannelShrinkage(of)
    module = started(method, of, steps=10)
    fixed = int(FIXED_AFTER * 10)
    for step in range(1, 11):
        method.after_step(module, step)
        if step >= fixed:
            with torch.no_grad():
                module.tensors()["w0"].add_(1.0)
    method.after_step(module, 11)
    chosen = method.chosen()
    assert chosen is not None
    assert not module.tensors()["w0"][chosen[:8]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_where_it_was(kind: type[ChannelSet]) -> None:
    of = subject(RESIDUAL)
    found = []
    for stops in ((), (4,), (8,)):
        method = kind(of)
        module = started(method, of, steps=10)
        for step in range(1, 11):
            method.after_step(module, step)
            if step in stops:
                state = method.state_dict()
                method = kind(of)
                method.start(module, torch.optim.SGD(module.parameters(), lr=0.1), 10)
                method.load_state_dict(state)
        found.append({n: t.detach().clone() for n, t in module.tensors().items()})
    for other in found[1:]:
        assert all(torch.equal(t, other[n]) for n, t in found[0].items())
