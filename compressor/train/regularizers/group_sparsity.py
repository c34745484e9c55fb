"""Sparsity of coupled groups: weak channels shrink up to sixteen times as hard as strong ones (DepGraph, CVPR 2023).

With ``I_c`` the mean, over the weights that hold channel c, of its sum of squares there as a share of the group's
mean, the penalty is ``1/2 Σ γ_c ‖w_c‖²`` over everything that the channel owns, where
``γ_c = 2^(4 (I_max - √I_c) / (I_max - I_min))`` and the extremes are those of ``√I`` in the group. A controller raises
the strength by half whenever too few channels have become small, and takes it back where too many have.
"""

from __future__ import annotations

import torch

from compressor.train.regularizers.controller import Controller
from compressor.train.regularizers.coupled_channels import CoupledChannels, Parameters
from compressor.train.regularizers.regularizer import FIRST_SHARE, Penalty, Regularizer, RegularizerRow, TrainedChannels

STEEPNESS = 4.0
"""Doublings of the penalty from the strongest unit of a group to the weakest: γ runs from 1 to 16."""
SMALL_CHANNEL = 0.1
"""Of the largest in its group: below it a channel counts as small. Weight decay that is proportional to the weight
never reaches zero."""
GROWTH = 1.5
"""Factor by which the controller raises the penalty where too few channels are small, and lowers it again."""


def unit_importance(channels: CoupledChannels, weights: Parameters) -> torch.Tensor:
    """``√I`` of each unit: 1 for one that is as strong as the mean of its group everywhere; [count]."""
    parts, counts = [], []
    for holding in channels.holdings:
        if holding.name in weights:
            # By the square of what a unit holds in this weight, against the mean of its group in the same weight:
            # weights of different size count alike.
            energy = holding.gathered(weights[holding.name].detach().square(), channels.count)
            mean = channels.group_mean(energy)
            # A group whose weights are all zero here would divide by zero.
            parts.append(energy / torch.where(mean > 0, mean, 1.0))
            counts.append(channels.held([holding]).to(energy.device, energy.dtype))
    if not parts:
        return torch.zeros(channels.count)
    # A mean over those parameters that hold the unit at all.
    return (torch.stack(parts).sum(0) / torch.stack(counts).sum(0).clamp_min(1)).sqrt()


class GroupSparsity(Penalty):
    """The penalty; ``strength`` is its first value as a share of the loss, before the controller changes it."""

    def __init__(self, subject: TrainedChannels) -> None:
        super().__init__(
            subject, FIRST_SHARE, Controller(subject.channels.ratio, SMALL_CHANNEL, start=1.0, growth=GROWTH)
        )
        subject.demand(bool(self.channels.holdings), "weights of coupled channels")

    def ramp(self) -> torch.Tensor:
        """γ of each unit, from 1 to 16; [count]."""
        found = self.scores()
        high, low = (self.channels.group_extreme(found, how) for how in ("amax", "amin"))
        span = torch.where(high > low, high - low, 1.0)
        return 2.0 ** (STEEPNESS * (high - found) / span)

    def value(self) -> torch.Tensor:
        """The penalty before it is scaled: half the sum over units of γ times the squares of all they own; a scalar."""
        return 0.5 * (self.ramp() * self.channels.energy(self._weights, self.channels.holdings)).sum()

    def scores(self) -> torch.Tensor:
        """How strong each unit is beside its group, see :func:`unit_importance`; [count]."""
        return unit_importance(self.channels, self._weights)


def _make(subject: TrainedChannels) -> Regularizer:
    return GroupSparsity(subject)


GROUP = RegularizerRow(_make, "after")
