"""Learning rates that are tried."""

from __future__ import annotations

from math import inf

import pytest

torch = pytest.importorskip("torch")

from compressor.errors import TrainingDiverged, UsageError  # noqa: E402
from compressor.train.loop.sweep import RATES, sweep_rates  # noqa: E402


def test_every_run_starts_from_the_same_weights() -> None:
    """Ten steps on a parabola of curvature one, from 1: the loss left is (1 - rate)^20 / 2."""
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(module.weight)
    starts = []

    def run(rate: float) -> float:
        starts.append(float(module.weight.detach()))
        optimiser = torch.optim.SGD(module.parameters(), lr=rate)
        for _ in range(10):
            optimiser.zero_grad()
            (module(torch.ones(1, 1)).square().sum() / 2).backward()
            optimiser.step()
        return float(module.weight) ** 2 / 2

    found = sweep_rates((2.5, 0.1, 0.5, 0.1), run, module)
    assert starts == [1.0, 1.0, 1.0]
    assert float(module.weight) == 1.0
    assert found.best == 0.5
    assert [t.rate for t in found.trials] == [0.1, 0.5, 2.5]
    assert [t.loss for t in found.trials] == pytest.approx([0.9**20 / 2, 0.5**20 / 2, 1.5**20 / 2], rel=1e-4)


def test_runs_that_diverge_lose() -> None:
    def run(rate: float) -> float:
        if rate > 0.05:
            raise TrainingDiverged("the loss is nan")
        return float("nan") if rate > 0.02 else rate

    found = sweep_rates(RATES, run)
    assert found.best == 0.001
    assert [t.loss for t in found.trials] == [0.001, 0.003, 0.01, inf, inf]
    with pytest.raises(TrainingDiverged, match=r"every rate down to 0\.03"):
        sweep_rates((0.1, 0.03), run)


def test_the_lower_of_equals_wins() -> None:
    assert sweep_rates((0.1, 0.01), lambda _: 1.0).best == 0.01


@pytest.mark.parametrize("rates", [(), (0.1, 0.0), (float("nan"),)])
def test_rates_are_positive(rates: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="positive"):
        sweep_rates(rates, lambda _: 0.0)


def test_an_interrupted_sweep_leaves_the_weights_alone() -> None:
    module = torch.nn.Linear(2, 2)
    before = module.weight.detach().clone()

    def run(_: float) -> float:
        module.weight.data.zero_()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep_rates((0.1,), run, module)
    assert torch.equal(module.weight, before)
