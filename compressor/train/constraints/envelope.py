"""Proximal training with a group envelope: fewer and fewer blocks may deviate from the form they will have.

After every step ``W <- prox(W)`` (arXiv:2212.12921). The number of free blocks falls linearly from all to what the set
allows, those that deviate least first, while the strength rises to its full value; every step chooses anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from compressor.train.constraints.constrained import Approach, Residual, relative_gap


class Proximal(Protocol):
    """A set with an envelope."""

    def project(self, weight: Any) -> Any:
        """The nearest weight in the set."""
        ...

    def prox(self, weight: Any, strength: float, softness: float) -> Any:
        """The proximal map of the envelope; ``softness`` 1 allows every block to be free, 0 what the set allows."""
        ...


class EnvelopeTraining(Approach):
    """Applies the proximal map of the group envelope to every weight after each step.

    Args:
        constraints: by name of the parameter.
        strength: of the map at the end; it rises linearly from zero.
    """

    def __init__(self, constraints: Mapping[str, Proximal], strength: float = 0.01) -> None:
        super().__init__(constraints)
        self._proximal, self._strength = constraints, strength

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """The proximal map, a little stronger in every step."""
        done = step / self._steps
        # Linear in both: at the start every block is free and the map does nothing, at the end only the set is
        # allowed.
        strength, softness = self._strength * done, 1 - done
        for name, weight in self._weights.items():
            weight.copy_(self._proximal[name].prox(weight.detach(), strength, softness))
        if self._records(step):
            self.residuals.append(Residual(step, strength, relative_gap(self._gaps(), self._weights), 0.0))
