"""Masked retraining: weights stay in a linear subspace, such as that of blocks with one trained number each.

A unified block with signs s is ``w = s a``: of its gradient only ``s mean(s g)`` is left, which is the gradient of the
loss by ``a`` over the size of the block, so that all its weights move as one. Gradients in the subspace keep momentum
and the moments of Adam in it, weight decay shrinks along it; what is left is rounding, and it is taken away after
every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from compressor.train.constraints.constrained import Constraint
from compressor.train.loop.extension import Extension


class SubspaceProjection(Extension):
    """Keeps parameters in their subspaces.

    Args:
        subspaces: by name of the parameter, what makes a linear subspace of the weight that training starts from.
    """

    def __init__(self, subspaces: Mapping[str, Callable[[torch.Tensor], Constraint]]) -> None:
        self._subspaces = subspaces
        self._held: list[tuple[torch.nn.Parameter, Constraint]] = []

    @torch.no_grad()
    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Fixes the subspaces; weights that the module does not train are in theirs anyway."""
        own = dict(module.named_parameters())
        # Also those that are not trained: they have no gradient, and projecting them changes nothing.
        self._held = [(own[n], make(own[n].detach())) for n, make in self._subspaces.items() if n in own]

    @torch.no_grad()
    def after_backward(self, module: torch.nn.Module) -> None:  # noqa: ARG002
        """Projects gradients onto the subspaces, before the optimiser uses them."""
        for parameter, subspace in self._held:
            if parameter.grad is not None:
                # Before clipping, as the norm should be that of the gradient that is used.
                parameter.grad.copy_(subspace.project(parameter.grad))

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """Projects weights too, so that rounding cannot lead out of the subspaces."""
        for parameter, subspace in self._held:
            parameter.copy_(subspace.project(parameter.detach()))
