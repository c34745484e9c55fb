"""ADMM towards the set, then straight-through training along it.

ADMM brings weights near the set while the loss sees them change slowly, but pulls the weights of a block to one
magnitude, after which hardly a sign turns any more. So latent weights are kept beside it from the first step on, as in
straight-through training: they take in what the optimiser does and nothing of ADMM's pull, and keep the magnitude of
each weight. Once ADMM has had its share of the steps, the weights become the projections of the latent ones, whose
signs go on turning to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from compressor.train.constraints.admm import Admm, AdmmSchedule
from compressor.train.constraints.constrained import Approach, Constraint
from compressor.train.constraints.straight_through import StraightThrough


class AdmmStraightThrough(Approach):
    """The W, Z, V loop for a share of the steps, then weights that are projections of latent ones.

    Raises :class:`~compressor.train.constraints.constrained.ConstraintDiverged` from within training where ADMM does.

    Args:
        constraints: by name of the parameter.
        schedule: of ADMM's refreshes, over its own steps.
        share: of the steps that ADMM has.
    """

    def __init__(self, constraints: Mapping[str, Constraint], schedule: AdmmSchedule, share: float) -> None:
        super().__init__(constraints)
        self._share, self._last, self._done = share, 1, 0
        self._admm = Admm(constraints, schedule)
        # Blended up to the last step of ADMM, so that its own weights are on the set from the first one on.
        self._straight = StraightThrough(constraints, blend=share)

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:
        """Starts both from the weights."""
        super().start(module, optimiser, steps_total)
        self._last, self._done = max(1, round(self._share * steps_total)), 0
        self._admm.start(module, optimiser, self._last)
        self._straight.start(module, optimiser, steps_total)

    def after_step(self, module: torch.nn.Module, step: int) -> None:
        """ADMM's pull, beside which the latent weights only listen; then their projection."""
        if step > self._last:
            self._straight.after_step(module, step)
        else:
            # Before the pull, which is no part of what the optimiser did.
            self._straight.collect()
            self._admm.after_step(module, step)
            self._straight.look()
        self._done = step
        self.residuals = [*self._admm.residuals, *self._straight.residuals]

    def averaged(self, module: torch.nn.Module) -> Mapping[str, torch.Tensor]:
        """The projections of the weights, or of the latent ones once these are what is trained."""
        return (self._straight if self._done > self._last else self._admm).averaged(module)

    def state_dict(self) -> dict[str, Any]:
        """Those of both, and how far training is."""
        parts = {"admm": self._admm, "straight": self._straight}
        found = {f"{name}/{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
        return {**found, "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        for name, part in (("admm/", self._admm), ("straight/", self._straight)):
            part.load_state_dict({k.removeprefix(name): v for k, v in state.items() if k.startswith(name)})
        self._done = int(state["done"])
        self.residuals = [*self._admm.residuals, *self._straight.residuals]
