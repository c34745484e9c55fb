"""Straight-through training on problems whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from compressor.config import BlockShape, TuneSettings
from compressor.train.constraints.straight_through import StraightThrough
from compressor.train.loop.fit import fit
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.projections import Mixed
from tests.train.constraints.problems import SETS, Quadratic, descend
from tests.train.training import Net, objective, splits


@pytest.mark.parametrize("kind", SETS)
def test_weights_end_on_the_set(kind: str) -> None:
    module, extension = Quadratic(), StraightThrough({"w": SETS[kind]}, blend=0.5)
    descend(module, extension, 100)
    assert torch.equal(module.w.detach(), extension.averaged(module)["w"])
    torch.testing.assert_close(SETS[kind].project(module.w.detach()), module.w.detach())
    found = [row.primal for row in extension.residuals]
    assert found[0] > 0.1
    assert max(found[len(found) // 2 :]) < 1e-12


def test_a_sign_turns_once_the_steps_against_it_have_added_up_to_its_magnitude() -> None:
    module = Quadratic((1, 4))
    with torch.no_grad():
        module.w.copy_(torch.tensor([[1.0, 1.0, 1.0, 0.35]]))
    extension = StraightThrough(
        {"w": Mixed(Blocking(CanonicalAxes.of((1, 4), "oi"), BlockShape.parse("1x4")))}, blend=0.0
    )
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    extension.start(module, optimiser, 10)
    signs = []
    for step in range(1, 6):
        module.w.grad = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
        optimiser.step()
        extension.after_step(module, step)
        signs.append(float(module.w.detach()[0, 3].sign()))
    assert signs == [1, 1, 1, -1, -1], "0.35 is used up by the fourth step of 0.1"


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped() -> None:
    results: list[Any] = []
    for stop in (None, 20):
        module, extension = Quadratic(), StraightThrough({"w": SETS["mixed"]})
        optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
        extension.start(module, optimiser, 40)
        for step in range(1, 41):
            optimiser.zero_grad()
            torch.autograd.backward(module.loss())
            optimiser.step()
            extension.after_step(module, step)
            if step == stop:
                state, again = extension.state_dict(), StraightThrough({"w": SETS["mixed"]})
                again.start(module, optimiser, 40)
                again.load_state_dict(state)
                extension = again
        results.append((module.w.detach(), extension.residuals))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_in_the_loop_epochs_are_judged_on_the_set() -> None:
    layout = Blocking(CanonicalAxes.of((8, 3, 3, 3), "oitt"), BlockShape.parse("4x3"))
    module = Net()
    settings = TuneSettings(epochs=6, batch_size=8, learning_rate=0.05, device="cpu")
    history = fit(module, objective(), splits(), settings, extensions=[StraightThrough({"conv.weight": Mixed(layout)})])
    weight = module.conv.weight.detach()
    assert torch.equal(Mixed(layout).project(weight), weight), "what is kept is what was judged"
    assert history.after.loss < history.before.loss
