"""Inserted BatchNormalization that multiplies several channels by one factor, so that folding it keeps their ratios.

Where weights of several outputs share an absolute value, a factor for each output would take them apart. The factor
``s = gamma / sqrt(var + epsilon)`` is therefore one for all channels of a group, while mean and shift stay their own:
after every step gamma goes to the nearest that has it, ``gamma = s sqrt(var + epsilon)`` with
``s = Σ gamma sqrt(var + epsilon) / Σ (var + epsilon)`` over the group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir
import torch

from compressor.train.loop.extension import Extension
from compressor.train.module.scalable_layers import layer_before
from compressor.train.reparameterize.batchnorm import EPSILON, MARK, GroupNumbers


@dataclass(frozen=True)
class Tie:
    """One normalisation.

    Attributes:
        gamma: name of its scale.
        variance: name of its running variance.
        groups: of its channels.
    """

    gamma: str
    variance: str
    groups: GroupNumbers


class Tied(Extension):
    """Keeps the factors of each group equal."""

    def __init__(self, ties: Iterable[Tie]) -> None:
        self._ties = tuple(ties)
        self._found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]] = []

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Finds the scales and variances that are tied, before the first step."""
        # Of ``state_dict``, whose tensors share memory with the parameters, so that copying into them changes the
        # module.
        state = module.state_dict()
        self._found = []
        for tie in self._ties:
            gamma = state[tie.gamma]
            groups = torch.from_numpy(tie.groups).to(gamma.device)
            self._found.append((gamma, state[tie.variance], groups, int(tie.groups.max()) + 1))

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """Scales go to the nearest that are tied."""
        for gamma, variance, groups, count in self._found:
            # The same epsilon that the inserted nodes have, as it is what folding divides by.
            root = (variance + EPSILON).sqrt()
            sums = torch.zeros(2, count, dtype=root.dtype, device=root.device)
            sums.index_add_(1, groups, torch.stack([gamma * root, root * root]))
            # The least-squares solution of ``gamma = s root`` with one s for each group.
            gamma.copy_((sums[0] / sums[1])[groups] * root)


def ties_of(model: ir.Model, groups: Mapping[str, GroupNumbers]) -> list[Tie]:
    """The normalisations behind these weights, by name, where there is one.

    Args:
        model: from :func:`compressor.train.reparameterize.batchnorm.insert`, or any.
        groups: by name of the weight.
    """
    found = []
    for node in model.graph:
        # Only normalisations that were put in: those of the file are not folded, and need not be tied.
        if MARK in node.metadata_props:
            name = str(layer_before(node.inputs[0], model.graph).weight.name)
            gamma, variance = node.inputs[1], node.inputs[4]
            if name in groups and gamma is not None and variance is not None:
                found.append(Tie(str(gamma.name), str(variance.name), groups[name]))
    return found
