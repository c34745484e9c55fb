"""Channels that live and die together, as tensors: sums over all that each owns, and factors on all that it owns.

The coupling says which positions of which weights one unit holds. Here the units of all groups are numbered from 0,
and every axis of a parameter that holds some gets a tensor with the number of the unit at each position. A residual
stream is one group and an attention head one unit, whatever number of weights they run through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup, Slot, slots_of
from compressor.channels.labels import Role
from compressor.operators.table import operator_of
from compressor.train.module.trainable import parameters

Parameters = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Holding:
    """Where one parameter holds units.

    Attributes:
        name: of the parameter.
        axes: of it, ascending.
        members: int64[sizes of the axes], the number of the unit at each position; ``count`` where there is none.
        role: ``out`` (filters), ``in`` (what reads the channel), ``scale`` (of a normalisation), or ``affine``.
    """

    name: str
    axes: tuple[int, ...]
    members: torch.Tensor
    role: Role | Literal["scale"]

    def spread(self, factors: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
        """A number for each unit as a tensor that broadcasts to the parameter; ``factors`` has one more, for none."""
        shape = [parameter.shape[a] if a in self.axes else 1 for a in range(parameter.dim())]
        return factors.to(parameter.device, parameter.dtype)[self.members.to(parameter.device)].reshape(shape)

    def gathered(self, numbers: torch.Tensor, count: int) -> torch.Tensor:
        """Sums of a tensor of the parameter's shape over everything that each unit holds in it; [count]."""
        others = tuple(a for a in range(numbers.dim()) if a not in self.axes)
        by_place = numbers.sum(others) if others else numbers
        # One place more for positions that hold no unit, cut off at the end.
        found = torch.zeros(count + 1, dtype=numbers.dtype, device=numbers.device)
        return found.index_add(0, self.members.to(numbers.device).reshape(-1), by_place.reshape(-1))[:count]


@dataclass(frozen=True)
class CoupledChannels:
    """The units that training may make small.

    Attributes:
        names: of the groups.
        group: int64[count], the group of each unit, by position in ``names``.
        gone: bool[count], units that a plan removes.
        holdings: what they hold in parameters that are trained.
    """

    names: tuple[str, ...]
    group: torch.Tensor
    gone: torch.Tensor
    holdings: tuple[Holding, ...]

    @property
    def count(self) -> int:
        """Units in all groups."""
        return len(self.group)

    @property
    def ratio(self) -> float:
        """Share of the units that go."""
        return float(self.gone.double().mean()) if self.count else 0.0

    def of(self, *roles: str) -> list[Holding]:
        """Holdings of these roles, or all."""
        return [h for h in self.holdings if not roles or h.role in roles]

    def energy(self, weights: Parameters, holdings: Iterable[Holding]) -> torch.Tensor:
        """Sum of squared weights of each unit over some holdings; [count], with the gradient's history."""
        return self._summed(holdings, {h.name: weights[h.name].square() for h in holdings if h.name in weights})

    def held(self, holdings: Iterable[Holding]) -> torch.Tensor:
        """Which units have anything in them; bool[count]."""
        found = torch.zeros(self.count + 1, dtype=torch.bool)
        for holding in holdings:
            found[holding.members.reshape(-1)] = True
        return found[: self.count]

    def amount(self, weights: Parameters, holdings: Iterable[Holding]) -> torch.Tensor:
        """How many weights each unit has in them; [count]."""
        found = torch.zeros(self.count)
        for holding in holdings:
            if holding.name in weights:
                places = torch.bincount(holding.members.reshape(-1), minlength=self.count + 1)[: self.count]
                found += places * (weights[holding.name].numel() // holding.members.numel())
        return found

    def _summed(self, holdings: Iterable[Holding], numbers: Parameters) -> torch.Tensor:
        parts = [h.gathered(numbers[h.name], self.count) for h in holdings if h.name in numbers]
        return torch.stack(parts).sum(0) if parts else torch.zeros(self.count)

    def group_mean(self, numbers: torch.Tensor) -> torch.Tensor:
        """The mean over the units of its group, for each unit; [count]."""
        group = self.group.to(numbers.device)
        sums = torch.zeros(len(self.names), dtype=numbers.dtype, device=numbers.device).index_add(0, group, numbers)
        # A group without units divides by one.
        return (sums / torch.bincount(group, minlength=len(self.names)).clamp_min(1))[group]

    def group_extreme(self, numbers: torch.Tensor, how: str) -> torch.Tensor:
        """The largest (``amax``) or smallest (``amin``) number in its group, for each unit; [count]."""
        group = self.group.to(numbers.device)
        start = torch.zeros(len(self.names), dtype=numbers.dtype, device=numbers.device)
        # Without the zeros that the result starts from, which would be the smallest of positive numbers.
        return start.scatter_reduce(0, group, numbers, how, include_self=False)[group]

    @torch.no_grad()
    def multiply(self, weights: Parameters, factors: torch.Tensor, holdings: Iterable[Holding]) -> None:
        """Multiplies all that each unit holds by a number of its own, in place; [count]."""
        # One for positions that hold no unit, so that they stay as they are.
        padded = torch.cat([factors, factors.new_ones(1)])
        for holding in holdings:
            weight = weights.get(holding.name)
            if weight is not None:
                weight.mul_(holding.spread(padded, weight))

    @contextmanager
    def without_gone(self, weights: Parameters) -> Iterator[None]:
        """The network as it is when the plan's units are zero, while it lasts."""
        names = dict.fromkeys(h.name for h in self.holdings if h.name in weights)
        before = {name: weights[name].detach().clone() for name in names}
        self.multiply(weights, (~self.gone).float(), self.holdings)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, numbers in before.items():
                    weights[name].copy_(numbers)

    def weakest(self, scores: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """As many units of each group as asked for, those of least score; ties by number. bool[count]."""
        # On the CPU: the same order there on every device, ties included.
        scores = scores.detach().cpu()
        found = torch.zeros(self.count, dtype=torch.bool)
        for index, wanted in enumerate(counts):
            mine = (self.group == index).nonzero().reshape(-1)
            found[mine[scores[mine].argsort(stable=True)[:wanted]]] = True
        return found

    def counts(self) -> list[int]:
        """How many units the plan takes from each group."""
        return torch.bincount(self.group[self.gone], minlength=len(self.names)).tolist()


def couple(
    coupling: Coupling, groups: Sequence[ChannelGroup], gone: Mapping[str, npt.NDArray[np.bool_]], model: ir.Model
) -> CoupledChannels:
    """The units of some groups of an analysed model.

    Args:
        coupling: of the model.
        groups: that may lose units.
        gone: bool[units] by name of the group: which of them a plan removes.
        model: whose initializers are the parameters of the module.
    """
    count = sum(len(g.units) for g in groups)
    # Units outside of all groups get the number one past the last.
    number = np.full(len(coupling.units), count, np.int64)
    for start, member in zip(np.cumsum([0, *(len(g.units) for g in groups)]).tolist(), groups, strict=False):
        number[member.units] = np.arange(start, start + len(member.units))
    trained = parameters(model.graph)
    holdings = []
    for slot in slots_of(coupling):
        members = number[coupling.units.find(slot.term.units)]
        if slot.value in trained and (members < count).any() and may_vanish(slot.value):
            holdings.append(Holding(str(slot.value.name), slot.term.axes, torch.from_numpy(members), _role(slot)))
    group = np.repeat(np.arange(len(groups)), [len(g.units) for g in groups])
    flags = [np.asarray(gone.get(g.name, np.zeros(len(g.units), np.bool_))) for g in groups]
    return CoupledChannels(
        tuple(g.name for g in groups),
        torch.from_numpy(group.astype(np.int64)),
        torch.from_numpy(np.concatenate([np.zeros(0, np.bool_), *flags])),
        tuple(holdings),
    )


def may_vanish(value: ir.Value) -> bool:
    """Is every use of a weight, moved about or not, one where zero does no harm?"""
    for node, index in value.uses():
        if operator_of(node).hands_on:
            if not all(may_vanish(v) for v in node.outputs):
                return False
        elif not operator_of(node).multiplies and not operator_of(node).may_be_zero(index):
            return False
    return True


def _role(slot: Slot) -> Role | Literal["scale"]:
    return "scale" if slot.role == "affine" and scales(slot.value) else slot.role


def scales(value: ir.Value) -> bool:
    """Is it the scale of a normalisation?"""
    uses = [(operator_of(node), index) for node, index in value.uses()]
    return any(operator.normalises is not None and index in operator.scale for operator, index in uses)
