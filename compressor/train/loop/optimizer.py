"""Optimiser, learning rate and clipping."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import ceil, cos, pi

import torch

from compressor.config import TuneSettings
from compressor.config.training import StepsSection
from compressor.errors import NothingToTrain


def optimiser_for(module: torch.nn.Module, settings: StepsSection) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; weight decay for matrices and kernels only.

    Raises:
        NothingToTrain: the module has no parameter that is trained.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise NothingToTrain(
            "the model has no trainable weights, as where all are quantised; train it before it is quantised"
        )
    groups = [
        {"params": [p for p in parameters if holds_matrix(p)], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if not holds_matrix(p)], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate)
    momentum = settings.momentum
    # Torch refuses Nesterov's form without momentum.
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=momentum, nesterov=momentum > 0)


def holds_matrix(parameter: torch.Tensor) -> bool:
    """Does it hold a matrix or a kernel, rather than one number for each channel?"""
    # Axes of one do not count: a scale of shape [1, c, 1, 1] is no kernel.
    return sum(size > 1 for size in parameter.shape) >= 2


def set_apart(
    optimiser: torch.optim.Optimizer, parameters: Collection[torch.Tensor], share: float, **changes: float
) -> None:
    """Gives parameters groups of their own, with this share of the learning rate and other ``changes``."""
    # A list, because groups are added on the way.
    for group in list(optimiser.param_groups):
        moved = [p for p in group["params"] if p in parameters]
        if not moved:
            continue
        rest = {key: value for key, value in group.items() if key != "params"}
        group["params"] = [p for p in group["params"] if p not in parameters]
        optimiser.add_param_group({**rest, "params": moved, "lr": group["lr"] * share, **changes})
    optimiser.param_groups[:] = [group for group in optimiser.param_groups if group["params"]]


def rate_at(step: int, steps: int, settings: StepsSection) -> float:
    """The learning rate of a step (from 0) as a share of the highest: a linear rise, then half a cosine."""
    rising = ceil(settings.warmup * steps)
    if step < rising:
        # Counted from one, so that no step is wasted at a rate of zero.
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return settings.final_rate + (1 - settings.final_rate) * (1 + cos(pi * done)) / 2


class Schedule:
    """Sets the learning rate of every group; each keeps its own highest rate."""

    def __init__(self, optimiser: torch.optim.Optimizer, settings: TuneSettings, steps: int) -> None:
        self._optimiser, self._settings, self._steps = optimiser, settings, steps
        for group in optimiser.param_groups:
            group.setdefault("highest", group["lr"])

    def set(self, step: int) -> float:
        """For the step to come, counted from 0; the rate of the first group."""
        share = rate_at(step, self._steps, self._settings)
        for group in self._optimiser.param_groups:
            # A group that was added since the start brings its highest rate as its present one.
            group["lr"] = group.setdefault("highest", group["lr"]) * share
        return float(self._optimiser.param_groups[0]["lr"])


def clip(parameters: Sequence[torch.nn.Parameter], norm: float) -> None:
    """Shrinks all gradients together to this norm if theirs is larger; 0 leaves them."""
    if norm > 0:
        torch.nn.utils.clip_grad_norm_(parameters, norm)
