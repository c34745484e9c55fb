"""Scales under an L1 penalty that a controller steers (dependency-aware filter pruning, arXiv 2005.02634).

The penalty is ``λ Σ |γ|`` over the scales of normalisation, and a channel matters as ``|γ_c| mean |W⁺[:, c]|``, with W⁺
the weights that read it; ``dependency-l2`` takes their root mean square instead. Scales count as shares of the mean of
their group at the start: where BatchNormalization was put back they start from the deviation of what a layer writes,
and loud layers would be punished more. A unit with several scales has their mean, and one with several readers the
mean of theirs.

Where no normalisation fits, a unit has a gate behind its filters. Folded into them, its L1 norm is the norm of filter
and bias, again as a share of the group's mean at the start.
"""

from __future__ import annotations

import torch

from compressor.train.regularizers.controller import Controller
from compressor.train.regularizers.coupled_channels import Holding
from compressor.train.regularizers.regularizer import Penalty, Regularizer, RegularizerRow, TrainedChannels

REACH = 1.0
"""How far the penalty alone would move scales over a whole run, as a multiple of the mean scale of their group, if the
controller raised its strength each time that it is asked."""


class ScalePenalty(Penalty):
    """The penalty; ``strength`` is :data:`REACH`, and the controller starts from nothing as in the paper.

    Args:
        subject: what it acts on.
        power: of the weights that read a channel, in its score: 1 or 2.
    """

    def __init__(self, subject: TrainedChannels, power: int = 1) -> None:
        super().__init__(subject, REACH, Controller(subject.channels.ratio, step=1.0))
        self._power = power
        producers = [*self.channels.of("out"), *self.channels.of("affine")]
        # Where a unit has a real scale its gate would be counted twice.
        scaled = self.channels.of("scale")
        has_scale = self.channels.held(scaled)
        self._gated = ~has_scale & self.channels.held(producers)
        self._scales, self._producers = scaled, producers
        self._start: dict[str, torch.Tensor] = {}
        subject.demand(bool((has_scale | self._gated).any()), "scales and filters")

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        """Remembers the sizes that everything is a share of, and scales the strength to the run."""
        super().start(module, optimiser, steps_total)
        own = [h for h in self._scales if h.name in self._weights]
        self._start = {h.name: self._mean(self._norms(h)) for h in own}
        self._start["gates"] = self._mean(self._gates())
        # Of the first group, as every group of parameters has the same rate and momentum here.
        group = optimiser.param_groups[0]
        # How far a constant gradient of one moves a scale over the run, with momentum, at the full rate.
        reach = self._steps * float(group["lr"]) / (1 - float(group.get("momentum", 0.0)))
        looks = self.controller.looks if self.controller is not None else 1
        # Raised by one at each look, the strength is (looks + 1) / 2 on average.
        self.factor = 2 * self.share / (reach * (looks + 1))

    def calibrate(self, module: torch.nn.Module, loss: object) -> None:
        """Nothing: the strength follows from the length of the run, as in the paper."""

    def value(self) -> torch.Tensor:
        """The penalty before it is scaled: the sum over units of their relative scales or gates; a scalar."""
        return self._sizes().sum()

    def scores(self) -> torch.Tensor:
        """How much each unit matters: its scale times the mean size of the weights that read it; [count]."""
        sizes = self._sizes().detach()
        readers = [h for h in self.channels.of("in") if h.name in self._weights]
        summed = [h.gathered(self._weights[h.name].detach().abs() ** self._power, self.channels.count) for h in readers]
        if not summed:
            return sizes
        amount = self.channels.amount(self._weights, readers).to(sizes.device)
        # A mean over the weights that read it, so that channels with many readers do not win by number.
        mean = torch.stack(summed).sum(0) / amount.clamp_min(1)
        # A unit that nobody reads by weights is scored by its size alone.
        return sizes * torch.where(amount > 0, mean, 1.0) ** (1 / self._power)

    def _sizes(self) -> torch.Tensor:
        """The scale, or gate, of each unit as a share of its group's mean at the start; [count]."""
        parts, counts = [], []
        for holding in self._scales:
            if holding.name in self._weights:
                start = self._start[holding.name]
                parts.append(_share(self._norms(holding), start))
                counts.append((start > 0).to(start.dtype))
        gates = _share(self._gates(), self._start["gates"]) * self._gated.to(self._start["gates"].device)
        if not parts:
            return gates
        return torch.stack(parts).sum(0) / torch.stack(counts).sum(0).clamp_min(1) + gates

    def _mean(self, sizes: torch.Tensor) -> torch.Tensor:
        """The mean of each group over units that have any; zero for those that have none."""
        found = sizes.detach()
        some = (found > 0).to(found.dtype)
        share = self.channels.group_mean(some)
        return self.channels.group_mean(found) / torch.where(share > 0, share, 1.0) * some

    def _norms(self, holding: Holding) -> torch.Tensor:
        """Sum of absolute scales of each unit in one parameter."""
        return holding.gathered(self._weights[holding.name].abs(), self.channels.count)

    def _gates(self) -> torch.Tensor:
        """Norm of the filters and biases of each unit, whose gradient at zero is zero."""
        energy = self.channels.energy(self._weights, self._producers)
        # The root has no gradient at zero, and autograd would give NaN even where the branch is not taken.
        return torch.where(energy > 0, energy, 1.0).sqrt() * (energy > 0)


def _share(now: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    # Divided inside ``where`` as well: a division by zero would reach the gradient as NaN.
    return torch.where(start > 0, now / torch.where(start > 0, start, 1.0), torch.zeros_like(now))


def _l1(subject: TrainedChannels) -> Regularizer:
    return ScalePenalty(subject)


def _l2(subject: TrainedChannels) -> Regularizer:
    return ScalePenalty(subject, 2)


DEPENDENCY = RegularizerRow(_l1, "after")
DEPENDENCY_L2 = RegularizerRow(_l2, "after")
