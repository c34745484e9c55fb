"""Masked retraining: blocks keep to their kinds, and learn as one number each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from compressor.config import BlockShape, TuneSettings
from compressor.train.constraints.admm import Admm
from compressor.train.constraints.envelope import EnvelopeTraining
from compressor.train.constraints.masked import SubspaceProjection
from compressor.train.constraints.soft_shrinkage import SoftShrinkage
from compressor.train.constraints.straight_through import StraightThrough
from compressor.train.loop.extension import Extension
from compressor.train.loop.fit import fit
from compressor.unification.assignment import FREE, PRUNED, UNIFIED
from compressor.unification.envelope import Envelope
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.measure import satisfied
from compressor.unification.projections import Mixed
from compressor.unification.subspace import Subspace
from tests.train.constraints.problems import SCHEDULE
from tests.train.training import Net, StopAfter, objective, splits

LAYOUT = Blocking(CanonicalAxes.of((8, 3, 3, 3), "oitt"), BlockShape.parse("4x2"))
"""Two of three inputs are in whole blocks, the third in smaller ones."""
MIXED = Mixed(LAYOUT, 0.5, 0.25)
SGD = {"optimiser": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01}
ADAMW = {"optimiser": "adamw", "learning_rate": 0.01, "weight_decay": 0.01}


def tuned(**values: Any) -> TuneSettings:
    return TuneSettings.parse({"epochs": 4, "batch_size": 8, "device": "cpu", **values})


def unified() -> tuple[Net, Any, SubspaceProjection]:
    """A network on its set, the kinds of its blocks, and what keeps it there."""
    module = Net()
    weight = module.conv.weight.detach()
    kinds = MIXED.kinds(weight)
    module.conv.weight.data = MIXED.impose(weight, kinds)
    return module, kinds, SubspaceProjection({"conv.weight": partial(Subspace, LAYOUT, kinds)})


@pytest.mark.parametrize("values", [SGD, ADAMW, {**SGD, "ema": 0.9}], ids=["sgd", "adamw", "mean"])
def test_blocks_keep_to_their_kinds_to_the_last_bit(values: dict[str, Any]) -> None:
    module, kinds, extension = unified()
    assert {*kinds} == {PRUNED, UNIFIED, FREE}
    start = module.conv.weight.detach().clone()
    history = fit(module, objective(), splits(), tuned(**values), extensions=[extension])
    assert history.after.loss < history.before.loss
    found = module.conv.weight.detach()
    blocks, before = LAYOUT.blocks(found), LAYOUT.blocks(start)
    if "ema" in values:
        torch.testing.assert_close(found, Subspace(LAYOUT, kinds, start).project(found))
    else:
        assert satisfied(found.numpy(), found.numpy(), LAYOUT, kinds)
    assert bool(
        (blocks.abs()[:, kinds == UNIFIED] != before.abs()[:, kinds == UNIFIED]).any(),
    )
    assert bool((blocks[:, kinds == FREE] != before[:, kinds == FREE]).all())


def test_gradients_are_those_of_one_number_a_block() -> None:
    module, kinds, extension = unified()
    extension.start(module, torch.optim.SGD(module.parameters(), lr=0.1), 1)
    x, weight = torch.randn(5, 3, 6, 6), module.conv.weight.detach()
    signs = torch.where(LAYOUT.blocks(weight) < 0, -1.0, 1.0)
    blocks = LAYOUT.blocks(weight)
    numbers = (signs * blocks).mean(0).requires_grad_()
    free = blocks.clone().requires_grad_()
    is_free, is_unified = torch.from_numpy(kinds == FREE), torch.from_numpy(kinds == UNIFIED)
    made = torch.where(is_free, free, torch.where(is_unified, signs * numbers, 0.0))
    parameters = {**dict(module.named_parameters()), "conv.weight": LAYOUT.weight(made)}
    module.eval()
    torch.autograd.backward(torch.func.functional_call(module, parameters, (x,)).square().sum())
    torch.autograd.backward(module(x).square().sum())
    extension.after_backward(module)
    assert module.conv.weight.grad is not None
    assert numbers.grad is not None
    assert free.grad is not None
    found = LAYOUT.blocks(module.conv.weight.grad)
    sizes, present = torch.from_numpy(np.prod(LAYOUT.extents, axis=0)), torch.from_numpy(LAYOUT.present)
    whole = (found * signs * sizes)[:, is_unified]
    torch.testing.assert_close(whole, numbers.grad[is_unified].expand(LAYOUT.n, -1))
    torch.testing.assert_close((found * present)[:, is_free], free.grad[:, is_free])
    assert not found[:, kinds == PRUNED].any()


METHODS: dict[str, Any] = {
    "admm": lambda: Admm({"conv.weight": MIXED}, SCHEDULE),
    "iss": lambda: SoftShrinkage({"conv.weight": MIXED}),
    "envelope": lambda: EnvelopeTraining({"conv.weight": Envelope(MIXED)}),
    "ste": lambda: StraightThrough({"conv.weight": MIXED}),
    "masked": lambda: unified()[2],
}


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("values", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_an_interrupted_run_goes_on_bit_by_bit(kind: str, values: dict[str, Any], tmp_path: Path) -> None:
    settings = tuned(**values, checkpoint=tmp_path / "c")

    def train(module: Net, chosen: TuneSettings, *more: Extension) -> Net:
        fit(module, objective(), splits(), chosen, extensions=[METHODS[kind](), *more])
        return module

    whole = train(unified()[0], settings.model_copy(update={"checkpoint": None}), StopAfter(-1))
    with pytest.raises(KeyboardInterrupt):
        train(unified()[0], settings, StopAfter(12))
    resumed = train(unified()[0], settings.model_copy(update={"resume": True}), StopAfter(-1))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_soft_shrinkage_of_pruned_blocks_is_its_closed_form() -> None:
    target = Mixed(LAYOUT, 0.0, 0.5)
    module = Net()
    before = module.conv.weight.detach().clone()
    extension = SoftShrinkage({"conv.weight": target}, alpha=0.8)
    extension.start(module, torch.optim.SGD(module.parameters(), lr=0.1), 4)
    extension.after_step(module, 2)
    pruned = target.kinds(before) == PRUNED
    expected = LAYOUT.blocks(before) * np.where(pruned, 0.9, 1.0).astype(np.float32)
    torch.testing.assert_close(LAYOUT.blocks(module.conv.weight.detach()), expected)
    assert len(extension.residuals) == 1


@pytest.mark.parametrize("kind", ["iss", "envelope"])
def test_the_gap_closes(kind: str) -> None:
    module, extension = Net(), METHODS[kind]()
    fit(module, objective(), splits(), tuned(epochs=20), extensions=[extension])
    found = [row.primal for row in extension.residuals]
    assert found[-1] < 0.5 * found[0]
    weight = module.conv.weight.detach()
    torch.testing.assert_close(MIXED.project(weight), weight)
