"""Zero-invariant decay: what is to be removed fades to zero while the rest is trained, and removal changes nothing.

After step ``t`` of ``T`` (from 0) the slices of redundant units are multiplied by ``(T - t - 1) / (T - t)``. Without
gradients they would shrink in equal parts, and the last factor is zero (HESSO, arXiv 2409.09085; methods.md P10).

All that holds a redundant unit decays where zero is harmless: kernels, biases, scales of normalisation, tables, so
that the unit's activation vanishes where it is not only ignored. What something is divided by keeps its size, as in
:func:`compressor.pruning.surgery.mask`, and so do running statistics, which are no parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
import onnx_ir as ir
import torch

from compressor.channels.channel_mask import Cut
from compressor.operators.table import RULES, operator_of
from compressor.pruning import surgery
from compressor.train.loop.extension import Extension
from compressor.train.module.trainable import parameters


class Decay(Extension):
    """Fades parts of parameters to zero.

    The last weights count, not those of the best epoch, in which the parts were not zero yet. For the same reason
    stop no run early and average no weights.

    Args:
        gone: by name of the parameter, bool that broadcasts to it: what fades.
        share: of all steps, after which it is zero, and stays so.
        exact: is it known that outputs are then the same with and without the parts?
    """

    keeps_last = True

    def __init__(self, gone: Mapping[str, torch.Tensor], *, share: float = 1.0, exact: bool = True) -> None:
        self._gone, self._share = dict(gone), share
        self._parts: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        self._steps = 1
        self.exact = exact

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters of which something fades."""
        return tuple(self._gone)

    def start(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, steps_total: int) -> None:  # noqa: ARG002
        """Finds the parameters; those that the module does not train are left out."""
        self._steps = max(1, ceil(self._share * steps_total))
        own = dict(module.named_parameters())
        self._parts = [(own[name], gone.to(own[name].device)) for name, gone in self._gone.items() if name in own]

    @torch.no_grad()
    def after_step(self, module: torch.nn.Module, step: int) -> None:  # noqa: ARG002
        """Shrinks them; the factor depends on the step alone, so that a checkpoint has nothing to hold."""
        left = max(0, self._steps - step)
        for parameter, gone in self._parts:
            if left:
                parameter.mul_(torch.where(gone, left / (left + 1), 1.0).to(parameter.dtype))
            else:
                parameter.masked_fill_(gone, 0.0)


def decay(cut: Cut, model: ir.Model, *, share: float = 1.0) -> Decay:
    """The decay of all that a cut removes.

    It is ``exact`` where removal is known to change nothing then. Not where a norm, a mean or a maximum runs over
    removed positions: they count as zeros before and not at all afterwards. Nor where activations meet each other in
    a product (attention), though what meets there has faded, too.

    Args:
        cut: on the analysed ``model``; not changed.
        model: the module to be trained is made of it.
        share: of all steps, after which everything is zero.
    """
    trained = parameters(model.graph)
    gone: dict[str, torch.Tensor] = {}
    stubborn = False
    for value in model.graph.initializers.values():
        kept = cut.mask(value)
        if kept is None:
            continue
        if value in trained and _may_vanish(value):
            gone[str(value.name)] = torch.from_numpy(np.array(~kept))
        else:
            stubborn = stubborn or any(_multiplies(node) for node, _ in value.uses())
    _, reference = surgery.mask(model, cut, RULES)
    return Decay(gone, share=share, exact=not (stubborn or reference.masked or reference.statistics))


def _multiplies(node: ir.Node) -> bool:
    """Is it a product in which a zero stands for a channel that is gone?"""
    return operator_of(node).multiplies


def _may_vanish(value: ir.Value) -> bool:
    """Is every use of a weight, moved about or not, one where zero does no harm?"""
    for node, index in value.uses():
        if operator_of(node).hands_on:
            if not all(_may_vanish(v) for v in node.outputs):
                return False
        elif not _multiplies(node) and not operator_of(node).may_be_zero(index):
            return False
    return True
