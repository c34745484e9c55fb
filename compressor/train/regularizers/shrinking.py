"""Sets of whole channels: as many units of each group are zero as the plan takes, whichever they are.

Ways to the set, all applied after every step to everything that a unit owns, and all choosing anew meanwhile, so that a
unit may grow back and leave the selection:

- ``iss``, iterative soft shrinkage (arXiv 2303.09650): the weakest units are multiplied by ``1 - share``, where the
  share grows linearly to ``1 - α``; in a short run to more, so that they come as near to zero as in a long one;
- ``envelope``, the proximal map of the group envelope (arXiv 2212.12921): the number of units that may differ from zero
  falls linearly to what the plan leaves, while the strength of the map rises. Units are weighed by the number of
  weights that they have, through the mean of their group;
- ``admm``, in :mod:`compressor.train.regularizers.channel_admm`.

After a share of the run the weakest are zero and stay so, and the rest of the network makes up for them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch

from compressor.core.group_envelope import remaining
from compressor.train.constraints.soft_shrinkage import ALPHA
from compressor.train.regularizers.group_sparsity import unit_importance
from compressor.train.regularizers.regularizer import ChannelRegularizer, RegularizerRow, TrainedChannels

STRENGTH = 0.001
"""Of the proximal map at the end: what is kept shrinks by it in every step."""
FIXED_AFTER = 0.7
"""Share of the run after which it is fixed which units are zero."""
DEEPEST = 7.0
"""``exp(-DEEPEST)`` is what at most is left then of units that were weakest all the time."""


class ChannelSet(ChannelRegularizer):
    """Base: a way to the set, and zeros after a share of the run.

    Args:
        subject: what it acts on.
    """

    def __init__(self, subject: TrainedChannels) -> None:
        super().__init__(subject)
        subject.demand(bool(self.channels.holdings), "weights of coupled channels")
        self._counts = self.channels.counts()
        self._chosen: torch.Tensor | None = None

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        """Finds the parameters; which units are to be zero is chosen later in the run."""
        super().start(module, optimiser, steps_total)
        self._chosen = None

    @property
    def until(self) -> float:
        """Steps after which it is fixed which units are zero."""
        # At least one, so that a run of a single step still has a phase.
        return max(1.0, FIXED_AFTER * self._steps)

    @abstractmethod
    def approach(self, module: torch.nn.Module, step: int) -> None:
        """Brings the weights nearer to the set after a step, before :attr:`until`."""

    def weakest(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """As many units of each group as the plan takes, those that hold least; bool[count]."""
        return self.channels.weakest(unit_importance(self.channels, weights), self._counts)

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:
        """One step of the way; after :data:`FIXED_AFTER` of the run sets the weakest units to zero instead."""
        # Chosen once and then fixed, also over a resume, as the state holds it.
        if self._chosen is None:
            if step < self.until:
                self.approach(module, step)
                return
            # As many of each group as the plan takes, so that the cut takes exactly these.
            self._chosen = self.weakest(self._weights)
        self.channels.multiply(self._weights, (~self._chosen).float(), self.channels.holdings)

    def chosen(self) -> torch.Tensor | None:
        """Units that are held at zero, bool[count]; None while that is not fixed."""
        return self._chosen

    def state_dict(self) -> dict[str, Any]:
        """Which units are held at zero; empty while that is not fixed."""
        return {} if self._chosen is None else {"chosen": self._chosen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self._chosen = state["chosen"].bool() if "chosen" in state else None


class Shrinking(ChannelSet):
    """Base of those that leave a share of each unit in every step."""

    @abstractmethod
    def remains(self, scores: torch.Tensor, done: float) -> torch.Tensor:
        """The share of each unit that is left by a step; [count].

        Args:
            scores: of the units; [count].
            done: share of the time until it is fixed which units are zero.
        """

    def approach(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """Shrinks units by :meth:`remains`."""
        factors = self.remains(unit_importance(self.channels, self._weights), step / self.until)
        self.channels.multiply(self._weights, factors, self.channels.holdings)


class ChannelShrinkage(Shrinking):
    """Iterative soft shrinkage; ``strength`` is ``1 - α``."""

    def __init__(self, subject: TrainedChannels) -> None:
        super().__init__(subject)
        self._given = subject.strength

    def remains(self, scores: torch.Tensor, done: float) -> torch.Tensor:
        """Less than one for the weakest units of each group, one for all others; [count]."""
        # Half of the steps at a share that grows linearly give ``share * steps / 2`` in all, hence the factor 2.
        share = max(1 - ALPHA, 2 * DEEPEST / (FIXED_AFTER * self._steps)) if self._given is None else self._given
        weakest = self.channels.weakest(scores, self._counts).to(scores.device)
        return 1 - weakest.to(scores.dtype) * min(1.0, share * done)


class ChannelEnvelope(Shrinking):
    """Proximal steps; ``strength`` is that of the map at the end."""

    def __init__(self, subject: TrainedChannels) -> None:
        super().__init__(subject)
        self._strength = STRENGTH if subject.strength is None else subject.strength

    def remains(self, scores: torch.Tensor, done: float) -> torch.Tensor:
        """The share of each unit that the proximal map of its group leaves; [count]."""
        found = torch.ones_like(scores)
        for index, gone in enumerate(self._counts):
            mine = self.channels.group.to(scores.device) == index
            # Group by group, since the numbers that may stay are per group.
            norms = scores[mine]
            # A group that loses nothing is left out; its units would only shrink.
            if gone:
                found[mine] = remaining(norms, self._strength * done, len(norms) - gone * done)
        return found


ISS = RegularizerRow(ChannelShrinkage, "within", fades=True)
ENVELOPE = RegularizerRow(ChannelEnvelope, "within", fades=True)
