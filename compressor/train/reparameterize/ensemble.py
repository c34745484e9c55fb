"""A teacher that is an ensemble: networks drawn around the weights of one more epoch (arXiv 1807.00847)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import MappingProxyType

import torch

from compressor.config import TuneSettings
from compressor.errors import UsageError
from compressor.train.loop.fit import fit
from compressor.train.loop.objective import Objective
from compressor.train.loop.split import Splits
from compressor.train.reparameterize.weight_averaging import EnsembleDraw, Resampled, WeightMean

TRAINS_ON = MappingProxyType({
    "epochs": 1, "loss": "cross-entropy", "features": (), "teacher_ensemble": 0, "checkpoint": None, "resume": False,
    "ema": 0.0, "mean_weights": 0.0, "sweep": False, "patience": 0, "warmup": 0.0, "final_rate": 1.0,
})  # fmt: skip
"""How the teacher trains on: at a constant rate, so that its weights wander."""
RATE_SHARE = 0.1
"""Share of the learning rate that it trains on with: near a minimum, late in training."""
COUNTED = 0.5
"""Share of the epoch over which mean and variance of weights are taken."""


def alone(settings: TuneSettings) -> TuneSettings:
    """Settings with which the teacher trains on, on labels."""
    return settings.model_copy(update={**TRAINS_ON, "learning_rate": RATE_SHARE * settings.learning_rate})


def ensemble(
    teacher: torch.nn.Module, parts: Splits, settings: TuneSettings, objective: Callable[[torch.nn.Module], Objective]
) -> Resampled:
    """The ensemble around a teacher, which stays as it is.

    Args:
        teacher: a trained network.
        parts: samples with labels.
        settings: of the run that will imitate it; ``teacher_ensemble`` says how many are drawn.
        objective: what the teacher minimises meanwhile, made for the copy of it that is trained.

    Raises:
        UsageError: there are no labels.
        TrainingDiverged: the loss of the teacher is NaN or infinite.
    """
    if not parts.train.labelled:
        raise UsageError(
            "--teacher-ensemble trains the original for another epoch, which needs labels, and the data has none; "
            "leave it out"
        )
    module = deepcopy(teacher).requires_grad_(True)
    seen = WeightMean(share=COUNTED)
    fit(module, objective(module), parts, alone(settings), extensions=[seen])
    return Resampled(module, seen.mean(), seen.variance(), EnsembleDraw(settings.teacher_ensemble, seed=settings.seed))
