"""A learning rate found by trying: short runs from the same weights, of equal length, judged by the same loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import torch

from compressor.errors import TrainingDiverged, UsageError

RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
"""What is tried with SGD where nothing else is said; pruned networks want higher rates than dense ones (2105.05916)."""


@dataclass(frozen=True)
class RateTrial:
    """One short run.

    Attributes:
        rate: the learning rate.
        loss: on the validation samples at its end, infinite where it diverged.
    """

    rate: float
    loss: float


@dataclass(frozen=True)
class Sweep:
    """All short runs in the order of their rates, and the rate of the one with the lowest loss."""

    trials: tuple[RateTrial, ...]
    best: float


def sweep_rates(rates: Sequence[float], run: Callable[[float], float], module: torch.nn.Module | None = None) -> Sweep:
    """Tries learning rates; of equal losses the lower rate wins.

    Args:
        rates: positive numbers; repeated ones are tried once.
        run: trains at a rate, with as many steps for every rate, and returns the loss on validation samples.
        module: gets its weights and statistics back before every run and after the last. Without it ``run`` begins
            from the same weights by itself.

    Raises:
        UsageError: there are no rates, or one is not positive.
        TrainingDiverged: every run diverged.
    """
    if not rates or not all(isfinite(rate) and rate > 0 for rate in rates):
        raise UsageError(f"learning rates to try are {list(rates)}; give positive numbers")
    start = {k: v.detach().clone() for k, v in module.state_dict().items()} if module is not None else {}
    trials = []
    # Rising, so that ``min`` below finds the lower of two rates with equal losses.
    for rate in sorted(set(rates)):
        try:
            trials.append(RateTrial(rate, _loss(run, rate)))
        # Also after an error: a caller that catches it finds the weights from before.
        finally:
            _reset(module, start)
    best = min(trials, key=lambda trial: trial.loss)
    if best.loss == inf:
        raise TrainingDiverged(f"training diverges at every rate down to {trials[0].rate:g}; try lower ones")
    return Sweep(tuple(trials), best.rate)


def _loss(run: Callable[[float], float], rate: float) -> float:
    try:
        found = run(rate)
    except TrainingDiverged:
        return inf
    return found if isfinite(found) else inf


@torch.no_grad()
def _reset(module: torch.nn.Module | None, start: dict[str, torch.Tensor]) -> None:
    own = module.state_dict() if module is not None else {}
    for name, tensor in start.items():
        own[name].copy_(tensor)
