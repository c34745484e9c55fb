"""Alternating direction method of multipliers for whole channels: W, Z and V over all that a unit owns.

Z is ``W + V`` with as many units of each group at zero as the plan takes, those that hold least; which ones is chosen
anew at every refresh. V grows where the loss holds on to a unit that is to go, so that such a unit comes back, and one
that nobody misses takes its place. Schedule and pull are those of :mod:`compressor.train.constraints.admm`; after a
share of the run the weakest units are zero and stay so, as in the other ways to the same set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from compressor.train.constraints.admm import Admm, AdmmSchedule
from compressor.train.constraints.constrained import Tensors
from compressor.train.regularizers.coupled_channels import CoupledChannels
from compressor.train.regularizers.regularizer import RegularizerRow, TrainedChannels
from compressor.train.regularizers.shrinking import ChannelSet

SCHEDULE = AdmmSchedule(refreshes=30, pull=0.3, growth=1.1, dual_step=0.3)
"""The first pull is no less than ``log(1 + dual step)``: otherwise V grows faster than W shrinks, and units that nobody
holds on to would come back."""


@dataclass
class ZeroUnits:
    """The set that all weights share: some units are zero.

    Attributes:
        channels: the units.
        gone: bool[count], those that are zero now.
    """

    channels: CoupledChannels
    gone: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.gone = torch.zeros(self.channels.count, dtype=torch.bool)


@dataclass(frozen=True)
class WithoutUnits:
    """What the set is for one parameter."""

    shared: ZeroUnits
    name: str

    def project(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with all that the units hold in it at zero."""
        found = weight.clone()
        channels = self.shared.channels
        own = [h for h in channels.holdings if h.name == self.name]
        channels.multiply({self.name: found}, (~self.shared.gone).float(), own)
        return found


class CoupledAdmm(Admm):
    """The W, Z, V loop for weights that share a set.

    Args:
        shared: the set.
        weakest: which units are to be zero, of weights by name.
        schedule: of refreshes.
    """

    def __init__(self, shared: ZeroUnits, weakest: Callable[[Tensors], torch.Tensor], schedule: AdmmSchedule) -> None:
        names = dict.fromkeys(h.name for h in shared.channels.holdings)
        super().__init__({name: WithoutUnits(shared, name) for name in names}, schedule)
        self._shared, self._weakest = shared, weakest

    def look(self, raised: Tensors) -> None:
        """Chooses which units are zero in Z."""
        self._shared.gone = self._weakest(raised)


class ChannelAdmm(ChannelSet):
    """The method; ``strength`` is the pull of the first interval between two refreshes."""

    def __init__(self, subject: TrainedChannels) -> None:
        super().__init__(subject)
        schedule = SCHEDULE if subject.strength is None else replace(SCHEDULE, pull=subject.strength)
        self._loop = CoupledAdmm(ZeroUnits(self.channels), self.weakest, schedule)

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        """Finds the parameters; Z starts from the weights without their weakest units."""
        super().start(module, optimiser, steps_total)
        self._loop.start(module, optimiser, int(self.until))

    def approach(self, module: torch.nn.Module, step: int) -> None:
        """Pulls W towards Z - V, and refreshes both when that is due."""
        self._loop.after_step(module, step)

    def state_dict(self) -> dict[str, Any]:
        """What the loop holds, and which units are held at zero."""
        return {**self._loop.state_dict(), **super().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self._loop.load_state_dict(state)


ADMM = RegularizerRow(ChannelAdmm, "within", fades=True)
