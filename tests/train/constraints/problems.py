"""A problem whose answer is known, and sets that its weights are brought to."""

from __future__ import annotations

from typing import Any

import torch

from compressor.config import BlockShape, UnifySettings
from compressor.train.constraints.constrained import Approach
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.methods import schedule_of
from compressor.unification.projections import Mixed

LAYOUT = Blocking(CanonicalAxes.of((4, 8), "oi"), BlockShape.parse("1x4"))
SETS: dict[str, Any] = {
    "unify": Mixed(LAYOUT),
    "mixed": Mixed(LAYOUT, 0.5, 0.25),
}
SCHEDULE = schedule_of(UnifySettings())
"""ADMM's, by the default settings."""


class Quadratic(torch.nn.Module):
    """``1/2 Σ h (w - c)²``."""

    def __init__(self, shape: tuple[int, ...] = (4, 8), seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.c = torch.randn(shape, generator=generator, dtype=torch.float64)
        self.h = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
        self.w = torch.nn.Parameter(self.c.clone())

    def loss(self) -> torch.Tensor:
        return (self.h * (self.w - self.c).square()).sum() / 2


def descend(module: Quadratic, extension: Approach, steps: int, **options: Any) -> None:
    """Plain steps, as the loop makes them."""
    make = options.pop("make", torch.optim.SGD)
    optimiser = make(module.parameters(), **{"lr": 0.05, **options})
    extension.start(module, optimiser, steps)
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        torch.autograd.backward(module.loss())
        extension.after_backward(module)
        optimiser.step()
        extension.after_step(module, step)
