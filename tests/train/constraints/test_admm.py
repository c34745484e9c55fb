"""ADMM on problems whose answer is known, for every kind of set."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from compressor.config import BlockShape, TuneSettings
from compressor.train.constraints.admm import GROWING, Admm
from compressor.train.constraints.constrained import ConstraintDiverged, relative_gap
from compressor.train.loop.fit import fit
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.projections import Mixed
from tests.train.constraints.problems import SCHEDULE, SETS, Quadratic, descend
from tests.train.training import Net, objective, splits


class AllEqual:
    """The weights whose entries are all equal: a subspace, so that ADMM must find the optimum."""

    def project(self, weight: Any) -> Any:
        return weight.mean().expand_as(weight).clone()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_convex_problem_is_solved_exactly(momentum: float) -> None:
    module = Quadratic(seed=4)
    extension = Admm({"w": AllEqual()}, replace(SCHEDULE, refreshes=100, pull=1.0, growth=1.0, dual_step=1.0))
    descend(module, extension, 4000, momentum=momentum, lr=0.05 * (1 - momentum))
    assert extension.finished
    optimum = (module.h * module.c).sum() / module.h.sum()
    assert abs(module.c.mean() - optimum) > 0.02, "the mere projection is not the answer"
    torch.testing.assert_close(extension.averaged(module)["w"], optimum.expand(4, 8), rtol=0, atol=1e-3)


def test_at_rest_the_gradient_is_rho_times_the_gap() -> None:
    for momentum in (0.0, 0.9):
        module = Quadratic()
        extension = Admm({"w": AllEqual()}, replace(SCHEDULE, refreshes=1, pull=50.0))
        with torch.no_grad():
            module.w.add_(1.0)
        target = module.w.detach().mean()
        optimiser = torch.optim.SGD(module.parameters(), lr=0.01, momentum=momentum, nesterov=momentum > 0)
        extension.start(module, optimiser, 2000)
        for step in range(1, 1500):
            optimiser.zero_grad()
            torch.autograd.backward(module.loss())
            optimiser.step()
            extension.after_step(module, step)
        gradient = module.h * (module.w.detach() - module.c)
        torch.testing.assert_close(gradient, extension.rho * (target - module.w.detach()))


@pytest.mark.parametrize("kind", SETS)
def test_residuals_shrink_and_the_result_is_in_the_set(kind: str) -> None:
    module = Quadratic()
    extension = Admm({"w": SETS[kind]}, replace(SCHEDULE, refreshes=40, growth=1.3))
    descend(module, extension, 800)
    found = [row.primal for row in extension.residuals]
    assert found[-1] < 0.02
    assert found[0] > 0.1
    z = extension.averaged(module)["w"]
    torch.testing.assert_close(SETS[kind].project(z), z)


class Correlated(Quadratic):
    """The same as a layer sees it: inputs depend on each other, so that one weight can make up for another."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        mixed = torch.randn((8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.a = mixed @ mixed.T / 8 + 0.05 * torch.eye(8, dtype=torch.float64)

    def loss(self) -> torch.Tensor:
        gap = self.w - self.c
        return (gap @ self.a * gap).sum() / 2


def test_training_towards_the_set_beats_projection() -> None:
    better = []
    for seed in range(6):
        module, projected = Correlated(seed), Correlated(seed)
        projected.w.data = SETS["unify"].project(projected.w.detach())
        descend(module, Admm({"w": SETS["unify"]}, replace(SCHEDULE, refreshes=40, growth=1.2)), 800)
        module.w.data = SETS["unify"].project(module.w.detach())
        better.append(module.loss().item() / projected.loss().item())
    assert np.median(better) < 0.8, better


def test_a_new_rho_leaves_the_multiplier_as_it_is() -> None:
    module = Quadratic()
    extension = Admm({"w": SETS["unify"]}, replace(SCHEDULE, refreshes=10, growth=1.0))
    descend(module, extension, 50)
    before, rho = extension._v["w"] * extension.rho, extension.rho
    extension._strengthen(4 * rho)
    assert extension.rho == 4 * rho
    assert torch.equal(extension._v["w"] * extension.rho, before)
    assert before.any()


def test_the_pull_does_not_depend_on_the_optimiser() -> None:
    gaps = []
    for make in (torch.optim.SGD, torch.optim.AdamW):
        module = Quadratic()
        module.h.zero_()
        extension = Admm({"w": SETS["unify"]}, replace(SCHEDULE, refreshes=1, pull=1.0))
        descend(module, extension, 99, make=make, lr=0.001, weight_decay=0.0)
        gaps.append(float((module.w.detach() - extension._z["w"]).norm() / (module.c - extension._z["w"]).norm()))
        descend(module, extension, 100, make=make, lr=0.001, weight_decay=0.0)
    assert gaps == pytest.approx([np.exp(-1)] * 2, rel=0.05)


class Away:
    """Not a set: what it returns is further and further off."""

    def __init__(self, factor: float) -> None:
        self.factor, self.calls = factor, 0

    def project(self, weight: Any) -> Any:
        self.calls += 1
        return weight + self.factor**self.calls


@pytest.mark.parametrize("factor", [1.5, float("nan")])
def test_divergence_ends_training_with_the_nearest_weights(factor: float) -> None:
    module = Quadratic()
    extension = Admm({"w": Away(factor)}, replace(SCHEDULE, refreshes=20, pull=1e-9))
    with pytest.raises(ConstraintDiverged, match=r"ADMM diverges: after step .* the nearest weights are kept"):
        descend(module, extension, 100)
    assert len(extension.residuals) in ((GROWING + 1, GROWING + 2) if factor == 1.5 else (1,))
    assert torch.equal(module.w.detach(), extension._best["w"])
    assert bool(module.w.isfinite().all())


def test_weights_that_are_not_finite_are_divergence() -> None:
    module = Quadratic()
    extension = Admm({"w": SETS["mixed"]}, replace(SCHEDULE, refreshes=10))
    extension.start(module, torch.optim.SGD(module.parameters(), lr=0.1), 10)
    with torch.no_grad():
        module.w[0, 0] = float("inf")
    with pytest.raises(ConstraintDiverged):
        extension.after_step(module, 1)
    assert torch.equal(module.w.detach(), module.c)


def test_in_the_loop_epochs_are_judged_on_the_set() -> None:
    layout = Blocking(CanonicalAxes.of((8, 3, 3, 3), "oitt"), BlockShape.parse("4x3"))
    extension = Admm({"conv.weight": Mixed(layout), "absent": Mixed(layout)}, replace(SCHEDULE, growth=1.0))
    module = Net()
    settings = TuneSettings(epochs=6, batch_size=8, learning_rate=0.05, device="cpu")
    history = fit(module, objective(), splits(), settings, extensions=[extension])
    weight = module.conv.weight.detach()
    assert torch.equal(Mixed(layout).project(weight), weight), "what is kept is what was judged"
    assert history.after.loss < history.before.loss
    assert all(a.step < b.step for a, b in pairwise(extension.residuals))


def test_relative_residuals() -> None:
    weights = {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2)}
    assert relative_gap({"a": torch.tensor([0.0, 1.0]), "b": torch.zeros(2)}, weights) == pytest.approx(0.2 / 2**0.5)
    assert relative_gap({}, {}) == 0.0


def test_the_run_ends_with_the_epoch_in_which_the_weights_are_on_the_set() -> None:
    layout = Blocking(CanonicalAxes.of((8, 3, 3, 3), "oitt"), BlockShape.parse("4x3"))
    extension = Admm({"conv.weight": Mixed(layout)}, replace(SCHEDULE, refreshes=60, pull=20.0, growth=2.0))
    settings = TuneSettings(epochs=30, batch_size=8, learning_rate=0.01, device="cpu")
    history = fit(Net(), objective(), splits(), settings, extensions=[extension])
    assert history.stopped_early
    assert extension.finished
    assert 0 < len(history.epochs) < 30
