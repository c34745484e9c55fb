"""ADMM and then straight through, on problems whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch

from compressor.config import BlockShape, TuneSettings, UnifySettings
from compressor.train.constraints.admm import Admm
from compressor.train.constraints.admm_straight_through import AdmmStraightThrough
from compressor.train.loop.fit import fit
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.methods import admm
from compressor.unification.projections import Mixed
from tests.train.constraints.problems import SCHEDULE, SETS, Quadratic, descend
from tests.train.training import Net, objective, splits

FEW = replace(SCHEDULE, refreshes=10)


@pytest.mark.parametrize("kind", SETS)
def test_weights_end_on_the_set_and_were_near_it_before(kind: str) -> None:
    module = Quadratic()
    extension = AdmmStraightThrough({"w": SETS[kind]}, replace(SCHEDULE, refreshes=40, growth=1.3), 0.5)
    descend(module, extension, 800)
    assert torch.equal(module.w.detach(), extension.averaged(module)["w"])
    torch.testing.assert_close(SETS[kind].project(module.w.detach()), module.w.detach())
    early, late = ([row.primal for row in extension.residuals if (row.step > 400) is after] for after in (False, True))
    assert 0 < early[-1] < early[0]
    assert max(late) < 1e-12


def test_the_first_part_is_admm() -> None:
    module, same = Quadratic(), Quadratic()
    half = AdmmStraightThrough({"w": SETS["unify"]}, FEW, 0.5)
    alone = Admm({"w": SETS["unify"]}, FEW)
    # The composed method is stopped where its first part ends.
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    half.start(module, optimiser, 100)
    for step in range(1, 51):
        optimiser.zero_grad()
        torch.autograd.backward(module.loss())
        optimiser.step()
        half.after_step(module, step)
    descend(same, alone, 50)
    assert torch.equal(module.w, same.w)
    assert half.residuals == alone.residuals
    assert torch.equal(half.averaged(module)["w"], alone.averaged(same)["w"])


def test_latent_weights_take_in_the_steps_and_not_the_pull() -> None:
    module = Quadratic((1, 4))
    with torch.no_grad():
        module.w.copy_(torch.tensor([[1.0, 1.0, 1.0, 0.35]]))
    layout = Blocking(CanonicalAxes.of((1, 4), "oi"), BlockShape.parse("1x4"))
    extension = AdmmStraightThrough({"w": Mixed(layout)}, replace(SCHEDULE, refreshes=2, pull=50.0), 0.4)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    extension.start(module, optimiser, 5)
    signs = []
    for step in range(1, 6):
        module.w.grad = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
        optimiser.step()
        extension.after_step(module, step)
        signs.append(float(module.w.detach()[0, 3].sign()))
    # ADMM alone pulls the last weight to the others, 0.84, from where four steps of 0.1 would not turn it.
    assert signs == [1, 1, 1, -1, -1], "0.35 is used up by the fourth step of 0.1"


@pytest.mark.parametrize("stop", [20, 60])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(stop: int) -> None:
    results = []
    for at in (None, stop):
        module, extension = Quadratic(), AdmmStraightThrough({"w": SETS["mixed"]}, SCHEDULE, 0.4)
        optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
        extension.start(module, optimiser, 100)
        for step in range(1, 101):
            optimiser.zero_grad()
            torch.autograd.backward(module.loss())
            optimiser.step()
            extension.after_step(module, step)
            if step == at:
                state = extension.state_dict()
                extension = AdmmStraightThrough({"w": SETS["mixed"]}, SCHEDULE, 0.4)
                extension.start(module, optimiser, 100)
                extension.load_state_dict(state)
        results.append((module.w.detach(), extension.residuals, extension.averaged(module)["w"]))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert torch.equal(results[0][2], results[1][2])


def test_in_the_loop_epochs_are_judged_on_the_set() -> None:
    layout = Blocking(CanonicalAxes.of((8, 3, 3, 3), "oitt"), BlockShape.parse("4x3"))
    module = Net()
    settings = TuneSettings(epochs=6, batch_size=8, learning_rate=0.05, device="cpu")
    extension = AdmmStraightThrough({"conv.weight": Mixed(layout)}, SCHEDULE, 0.4)
    history = fit(module, objective(), splits(), settings, extensions=[extension])
    weight = module.conv.weight.detach()
    assert torch.equal(Mixed(layout).project(weight), weight), "what is kept is what was judged"
    assert history.after.loss < history.before.loss


def test_a_share_of_one_is_admm_alone() -> None:
    assert isinstance(admm(UnifySettings(), {}), AdmmStraightThrough)
    assert isinstance(admm(UnifySettings.parse({"admm_share": "100%", "method": "admm", "data": "x.npz"}), {}), Admm)
