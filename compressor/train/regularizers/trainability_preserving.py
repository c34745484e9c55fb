"""Filters that are to go are decorrelated from those that stay while the net is trained (TPP, arXiv 2207.12534).

With the filters of a kernel as rows of ``F`` and ``G = FF'``, the entries of G in rows and columns of departing filters
are driven to zero: what leaves is then orthogonal to what stays, and the latter keeps its trainability. Correlations
among filters that stay are not touched. G is divided by the mean of its diagonal at the start: its square goes as the
fourth power of the weights, whose size differs by layer, above all where BatchNormalization is folded in.

On top, all that makes a departing channel, which is kernels, biases, and scales and shifts of normalisations, gets
``r`` times itself added to its gradient. Both parts rise linearly from nothing over a share of the run. In what is
left, the stabilising phase, groups of channels are set to zero one after the other and stay there, so that training
can make up for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import slots_of
from compressor.operators.table import operator_of
from compressor.train.regularizers.regularizer import FIRST_SHARE, Penalty, Regularizer, RegularizerRow, TrainedChannels

RISE = 0.6
"""Share of the run in which the penalty rises; in the authors' code 100,000 of 110,000 steps, at a rate of 0.001."""
LAST_ZERO = 0.8
"""Share of the run after which all groups are zero."""


@dataclass(frozen=True)
class Filters:
    """Where a kernel has its filters.

    Attributes:
        axis: of the filters.
        groups: whose filters see different inputs; only those of one group correlate.
        gone: bool[filters], those that are to go.
    """

    axis: int
    groups: int
    gone: torch.Tensor


class TrainabilityPreserving(Penalty):
    """The penalty ``r Σ mean((G - T)² / ḡ²)``, and r times what departs.

    Args:
        subject: what it acts on; ``strength`` is the penalty's share of the loss once r is one.
        filters: by name of the kernel.
    """

    def __init__(self, subject: TrainedChannels, filters: Mapping[str, Filters]) -> None:
        super().__init__(subject, FIRST_SHARE)
        self._filters = dict(filters)
        self._scale: dict[str, float] = {}
        # Not the readers of a channel: the paper decays what makes it.
        self._makers = self.channels.of("out", "affine", "scale")

    @property
    def names(self) -> tuple[str, ...]:
        """Kernels that lose filters."""
        return tuple(self._filters)

    def rise(self, done: int) -> float:
        """Share of the full strength after ``done`` steps, r above: from nothing to 1 over :data:`RISE` of the run."""
        return min(1.0, (done + 1) / max(1.0, RISE * self._steps))

    # ``done + 1`` so that the first step has some of the penalty already.
    @torch.no_grad()
    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        """Measures the scale of every kernel, by which its correlations are divided; the penalty starts at zero."""
        super().start(module, optimiser, steps_total)
        present = [name for name in self._filters if name in self._weights]
        self._scale = {name: _diagonal(self._weights[name], self._filters[name].axis) for name in present}

    def value(self) -> torch.Tensor:
        """The penalty before it is scaled: correlations of departing filters, summed over kernels; a scalar."""
        terms = [
            # A kernel of zeros has no scale to divide by.
            correlation(self._weights[name], self._filters[name]) / max(scale**2, 1e-30)
            for name, scale in self._scale.items()
        ]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    @torch.no_grad()
    def after_clipping(self, module: torch.nn.Module) -> None:
        """Adds the gradient of the penalty, and r times what departs."""
        super().after_clipping(module)
        rise = self.rise(self._done)
        # One more entry, zero, for positions that belong to no unit.
        shares = torch.cat([self.channels.gone.float() * rise, torch.zeros(1)])
        for holding in self._makers:
            weight = self._weights.get(holding.name)
            if weight is not None and weight.grad is not None:
                weight.grad.addcmul_(holding.spread(shares, weight), weight)

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:
        """Sets the first groups of departing channels to zero in the stabilising phase, and all after the last step."""
        super().after_step(module, step)
        groups = len(self.channels.names)
        phase = (step / self._steps - RISE) / (LAST_ZERO - RISE)
        # The last step sets all to zero in any case: rounding, or a very short run, must leave nothing.
        count = groups if step >= self._steps else int(min(1.0, max(0.0, phase)) * groups)
        if count:
            # The first ``count`` groups are zero by now, and are set to zero again in every step.
            stays = ~(self.channels.gone & (self.channels.group < count))
            self.channels.multiply(self._weights, stays.float(), self.channels.holdings)

    def state_dict(self) -> dict[str, Any]:
        """Steps done and factor, and the scale of every kernel as it was at the start."""
        return {**super().state_dict(), **{f"scale {name}": scale for name, scale in self._scale.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self._scale = {name: float(state[f"scale {name}"]) for name in self._scale}


def filters_of(cut: ChannelMask) -> dict[str, Filters]:
    """Every kernel of a convolution or matrix product that loses filters in a cut, by its name."""
    found: dict[str, Filters] = {}
    for slot in slots_of(cut.coupling):
        kept = cut.keeps(slot.term)
        users = [node for node, _ in slot.value.uses() if operator_of(node).has_kernel]
        # Only whole filters on one axis have rows of F; grouped readers and joint terms do not.
        if slot.role != "out" or len(slot.term.axes) != 1 or kept.all() or not users:
            continue
        axis = slot.term.axes[0]
        groups = users[0].attributes.get_int("group", 1) if axis == 0 else 1
        found[str(slot.value.name)] = Filters(axis, groups, torch.from_numpy(~kept))
    return found


def correlation(kernel: torch.Tensor, filters: Filters) -> torch.Tensor:
    """Mean square of the entries of G that concern departing filters, zeros in place of all others.

    It has the gradient of ``mean((G - T)²)``, where T is G, held fixed, with those entries at zero.
    """
    # Only filters of one group see the same inputs, so correlations across groups mean nothing.
    rows = kernel.movedim(filters.axis, 0).reshape(filters.groups, kernel.shape[filters.axis] // filters.groups, -1)
    gone = filters.gone.to(kernel.device).reshape(filters.groups, -1)
    # Entries in rows or columns of departing filters: both, as G is symmetric.
    concerned = gone[:, :, None] | gone[:, None, :]
    return (rows @ rows.mT * concerned).square().mean()


def _diagonal(kernel: torch.Tensor, axis: int) -> float:
    """Mean of the diagonal of G."""
    return float(kernel.detach().square().sum() / kernel.shape[axis])


def _make(subject: TrainedChannels) -> Regularizer:
    filters = filters_of(subject.cut)
    subject.demand(bool(filters), "filters of convolutions and matrix products")
    return TrainabilityPreserving(subject, filters)


TPP = RegularizerRow(_make, "before", fades=True)
