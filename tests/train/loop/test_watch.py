"""Training at a rate that is too high begins anew at a lower one, and says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compressor.config import TuneSettings
from compressor.errors import TrainingDiverged
from compressor.train.loop.extension import Extension
from compressor.train.loop.fit import fit
from compressor.train.loop.history import History, Judgement
from compressor.train.loop.watch import FEWEST_STEPS, HALVINGS, WATCHED, Watch, Worse, rate_notes
from tests.train.training import Net, objective, splits


def trained(rate: float, extensions: list[Extension] | None = None, **given: Any) -> tuple[Net, History]:
    plain = {"batch_size": 8, "epochs": 8, "device": "cpu", "clip_norm": 0, "warmup": 0, "learning_rate": rate}
    module = Net()
    chosen = TuneSettings.parse({**plain, **given})
    return module, fit(module, objective(), splits(), chosen, extensions=extensions or [])


class Rates(Extension):
    """Writes down the rate of every first step, and how often training began."""

    def __init__(self) -> None:
        self.starts = 0
        self.rates: list[float] = []

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        self.starts += 1
        self._optimiser = optimiser

    def after_step(self, module: torch.nn.Module, step: int) -> None:
        if step == 1:
            self.rates.append(self._optimiser.param_groups[0]["lr"])


def test_a_rate_that_is_too_high_is_halved() -> None:
    seen = Rates()
    _, history = trained(8.0, [seen])
    assert 1 < seen.starts <= HALVINGS + 1
    assert seen.rates == [8.0 / 2**k for k in range(seen.starts)]
    [note] = history.notes
    assert "8 made it far worse" in note
    assert f"{seen.rates[-1]:g}" in note
    assert history.after.loss < history.before.loss
    assert [record.epoch for record in history.epochs] == list(range(1, 9)), "epochs of the runs before do not count"


def test_a_good_rate_is_left_alone() -> None:
    seen = Rates()
    _, history = trained(0.1, [seen])
    assert (seen.starts, history.notes) == (1, [])


def test_where_no_rate_helps_it_ends_with_the_weights_from_before() -> None:
    module, history = trained(1e4, clip_norm=1)
    assert not history.epochs
    assert (history.best_epoch, history.after) == (0, history.before)
    [note] = history.notes
    assert "down to 312.5" in note
    before = Net().state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_numbers_that_are_none_count_as_worse_until_the_last_rate() -> None:
    class Spoil(Extension):
        """Makes the loss infinite while the rate is at least ``limit``."""

        def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
            self._optimiser = optimiser

        def penalty(self, module: torch.nn.Module, values: object) -> torch.Tensor | None:
            return torch.tensor(float("inf")) if self._optimiser.param_groups[0]["lr"] >= self.limit else None

        limit = 0.15

    _, history = trained(0.4, [Spoil()])
    assert history.epochs
    assert "training began anew at 0.1" in history.notes[0]
    always = Spoil()
    always.limit = 0.0
    with pytest.raises(TrainingDiverged, match=r"at step 1 .* smaller --learning-rate than 0\.0125$"):
        trained(0.4, [always])


def test_weights_that_count_whatever_they_cost_are_not_watched() -> None:
    class Last(Rates):
        keeps_last = True

    seen = Last()
    trained(1e4, [seen], clip_norm=1)
    assert seen.starts == 1


def test_without_samples_set_aside_what_is_worse_is_not_kept_either() -> None:
    class Ruin(Extension):
        def after_epoch(self, module: torch.nn.Module, epoch: int) -> None:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.mul_(100.0)

    module = Net()
    chosen = TuneSettings.parse({"batch_size": 8, "epochs": 2, "device": "cpu", "learning_rate": 0.1})
    history = fit(module, objective(), splits(valid=0), chosen, extensions=[Ruin()])
    assert history.best_epoch == 0
    assert torch.equal(module.conv.weight, Net().conv.weight)


def test_when_it_is_looked_at() -> None:
    assert Watch.of(10 * WATCHED) == Watch(WATCHED)
    assert Watch.of(2 * FEWEST_STEPS) == Watch(FEWEST_STEPS)
    assert Watch.of(2 * FEWEST_STEPS - 1) is None
    watch = Watch(50)
    watch.demand_sound(Judgement(1.0), Judgement(1.5))
    for loss in (5.0, float("nan"), float("inf")):
        with pytest.raises(Worse):
            watch.demand_sound(Judgement(1.0), Judgement(loss))
    assert (watch.again(50, 0), watch.again(51, 0), watch.again(50, HALVINGS)) == (True, False, False)
    assert rate_notes(0.1, 0, trained=True) == []
