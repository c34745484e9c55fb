"""Iterative soft shrinkage: after every step weights move a little way to their projection, chosen anew each time.

``W <- W + (1 - alpha) (projection of W - W)``. For pruning this is ISS-P (arXiv:2303.09650): what is least goes to
``alpha * w``, and may grow back and leave the selection; ``alpha = 0`` is iterative hard thresholding. Here the set is
any, and the shrinkage grows over the run, so that a pretrained network is not torn apart in the first steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from compressor.train.constraints.constrained import Approach, Constraint, Residual, relative_gap

ALPHA = 0.95
"""What a step leaves of the gap in the end; of the authors' commands."""


class SoftShrinkage(Approach):
    """Moves weights a growing share of the way to their set after each step.

    Args:
        constraints: by name of the parameter.
        alpha: share of the gap to the set that a step leaves, at the end; ``1 - alpha`` grows linearly from zero.
    """

    def __init__(self, constraints: Mapping[str, Constraint], alpha: float = ALPHA) -> None:
        super().__init__(constraints)
        self._alpha = alpha

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """Moves every weight towards its projection."""
        # Linear from nothing: at the full share a pretrained network would be on the set after a few dozen steps.
        share = (1 - self._alpha) * step / self._steps
        self._pull({name: self._nearest(name) for name in self._weights}, share)
        if self._records(step):
            self.residuals.append(Residual(step, share, relative_gap(self._gaps(), self._weights), 0.0))
