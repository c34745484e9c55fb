"""Kernels as coefficients times a basis, both trained (arXiv 2203.07808): the basis slowly, and kept in scale.

With ``W = Λ F`` the gradients are ``dΛ = dW Fᵀ`` and ``dF = Λᵀ dW``; every weight of a layer pulls at F, which is
why it gets a smaller rate, and no weight decay. What a row of F is multiplied by and the coefficients divided by
changes nothing; rows are brought back to length 1 after every epoch, so that coefficients stay comparable.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from compressor.train.loop.extension import Extension
from compressor.train.loop.optimizer import set_apart

RATE = 0.1
"""Of the basis, as a share of the learning rate."""


class BasisTraining(Extension):
    """Trains bases as they need it.

    Args:
        bases: name of the parameter of coefficients, [out, channels, n] -> that of its basis, [n, taps].
    """

    def __init__(self, bases: Mapping[str, str]) -> None:
        self._bases = bases
        self._held: list[tuple[torch.Tensor, torch.Tensor]] = []

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Finds the parameters, and gives bases a rate of their own."""
        own = dict(module.named_parameters())
        self._held = [(own[one], own[two]) for one, two in self._bases.items() if one in own and two in own]
        set_apart(optimiser, {basis for _, basis in self._held}, RATE, weight_decay=0.0)

    @torch.no_grad()
    def after_epoch(self, module: torch.nn.Module, epoch: int) -> None:  # noqa: ARG002
        """Rows of every basis get length 1, and the coefficients what that takes; products stay."""
        for coefficients, basis in self._held:
            length = basis.norm(dim=1)
            # A row of zeros has no direction to keep.
            length = torch.where(length > 0, length, torch.ones_like(length))
            basis.div_(length[:, None])
            coefficients.mul_(length)
