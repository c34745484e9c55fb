"""Filters that are to go are decorrelated from those that stay while the net is trained (TPP, arXiv 2207.12534).

With the filters of a kernel as rows of ``F`` and ``G = FF'``, the entries of G in rows and columns of departing filters
are driven to zero: what leaves is then orthogonal to what stays, and the latter keeps its trainability. Correlations
among filters that stay are not touched. On top, weights of departing units shrink by a growing L2 penalty. Both rise
linearly from nothing. Combine it with :mod:`compressor.train.regularizers.decay`, which makes the parts zero in the
end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from compressor.channels.channel_mask import Cut
from compressor.channels.groups import slots_of
from compressor.operators.table import operator_of
from compressor.train.loop.extension import Extension


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


class Decorrelation(Extension):
    """The penalty ``weight * r * mean(G²)`` over entries that concern departing filters, and ``r`` times their L2.

    Args:
        filters: by name of the kernel.
        weight: of the penalty; 1000 in the authors' code.
        share: of all steps, after which r has risen to one.
    """

    def __init__(self, filters: Mapping[str, Filters], *, weight: float = 1e3, share: float = 1.0) -> None:
        self._filters, self._weight, self._share = dict(filters), weight, share
        self._steps, self._done = 1.0, 0

    @property
    def names(self) -> tuple[str, ...]:
        """Kernels that lose filters."""
        return tuple(self._filters)

    @property
    def _rise(self) -> float:
        return min(1.0, (self._done + 1) / self._steps)

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """From nothing."""
        self._steps, self._done = max(1.0, self._share * steps_total), 0

    def penalty(self, module: torch.nn.Module) -> torch.Tensor | None:
        """The sum over kernels; None where the module trains none of them."""
        own = dict(module.named_parameters())
        terms = [correlation(own[name], filters) for name, filters in self._filters.items() if name in own]
        return self._weight * self._rise * torch.stack(terms).sum() if terms else None

    @torch.no_grad()
    def after_backward(self, module: torch.nn.Module) -> None:
        """Adds r times the weights of departing filters to their gradients."""
        own = dict(module.named_parameters())
        for name, filters in self._filters.items():
            parameter = own.get(name)
            if parameter is None or parameter.grad is None:
                continue
            shape = [-1 if a == filters.axis else 1 for a in range(parameter.dim())]
            share = self._rise * filters.gone.to(parameter.device, parameter.dtype).reshape(shape)
            parameter.grad.addcmul_(share, parameter)

    def after_step(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """Counts; a resumed run counts on from the next step."""
        self._done = step

    def state_dict(self) -> dict[str, object]:
        """How many steps are done."""
        return {"done": self._done}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Goes on from there."""
        self._done = int(str(state["done"]))


def decorrelation(cut: Cut, *, weight: float = 1e3, share: float = 1.0) -> Decorrelation:
    """For every kernel of a convolution or matrix product that loses filters in a cut."""
    found: dict[str, Filters] = {}
    for slot in slots_of(cut.coupling):
        kept = cut.keeps(slot.term)
        users = [node for node, _ in slot.value.uses() if operator_of(node).has_kernel]
        if slot.role != "out" or len(slot.term.axes) != 1 or kept.all() or not users:
            continue
        axis = slot.term.axes[0]
        groups = users[0].attributes.get_int("group", 1) if axis == 0 else 1
        found[str(slot.value.name)] = Filters(axis, groups, torch.from_numpy(~kept))
    return Decorrelation(found, weight=weight, share=share)


def correlation(kernel: torch.Tensor, filters: Filters) -> torch.Tensor:
    """Mean square of the entries of G that concern departing filters, zeros in place of all others."""
    rows = kernel.movedim(filters.axis, 0).reshape(filters.groups, kernel.shape[filters.axis] // filters.groups, -1)
    gone = filters.gone.to(kernel.device).reshape(filters.groups, -1)
    concerned = gone[:, :, None] | gone[:, None, :]
    return (rows @ rows.mT * concerned).square().mean()
