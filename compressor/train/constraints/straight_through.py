"""Straight-through training: the loss sees weights on the set, and what the optimiser does to them adds up beside it.

With a latent weight L and its projection Z, the module computes with ``W = L + t (Z - L)``. The step that the optimiser
takes from W is added to L as it is (straight-through estimation, arXiv:1308.3432; BinaryConnect, arXiv:1511.00363), so
that a sign turns over once the steps against it have added up to its magnitude. ``t`` grows from zero to one over the
first share of the run (alpha-blending, arXiv:1905.13298), so that a pretrained network is not torn apart at once;
from there on W is on the set in every step.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from compressor.train.constraints.constrained import Approach, Constraint, Residual, Tensors, relative_gap


class StraightThrough(Approach):
    """Trains latent weights beside the weights, which after each step are blended with the projection of the former.

    Args:
        constraints: by name of the parameter.
        blend: share of the steps in which t grows linearly from zero to one.
    """

    def __init__(self, constraints: Mapping[str, Constraint], blend: float = 0.5) -> None:
        super().__init__(constraints)
        self._blend = blend
        self._latent: Tensors = {}
        self._seen: Tensors = {}

    @torch.no_grad()
    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        """Starts from latent weights that equal the weights."""
        super().start(module, optimiser, steps_total)
        self._latent = {name: weight.detach().clone() for name, weight in self._weights.items()}
        # The weight as the loss saw it: what differs from it after a step is what the optimiser did.
        self._seen = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def collect(self) -> None:
        """Moves what the optimiser has done since the loss saw the weights over to the latent ones."""
        for name, weight in self._weights.items():
            # The change, not the value: W differs from L by the pull to Z, which must not enter L.
            self._latent[name].add_(weight - self._seen[name])

    @torch.no_grad()
    def look(self) -> None:
        """Takes the weights as they are for those that the loss sees next."""
        for name, weight in self._weights.items():
            self._seen[name].copy_(weight)

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """Moves the step over to the latent weights, and the weights to where t says."""
        # A blend of zero would divide by zero; it means that weights are on the set from the first step.
        t = min(1.0, step / (self._blend * self._steps)) if self._blend else 1.0
        records, moved = self._records(step), Tensors()
        self.collect()
        for name, weight in self._weights.items():
            weight.copy_(self._latent[name].lerp(self._nearest(name), t))
            if records:
                moved[name] = weight - self._seen[name]
        self.look()
        if records:
            gap, change = relative_gap(self._gaps(), self._weights), relative_gap(moved, self._weights)
            self.residuals.append(Residual(step, t, gap, change))

    def _parts(self) -> Mapping[str, Tensors]:
        return {"latent": self._latent, "seen": self._seen}

    def _nearest(self, name: str) -> torch.Tensor:
        found: torch.Tensor = self._constraints[name].project(self._latent[name])
        # The projection of the latent weight, and not of W, from which a sign could never turn.
        return found
