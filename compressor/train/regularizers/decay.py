"""Zero-invariant decay: what is to be removed fades to zero while the rest is trained, and removal changes nothing.

After step ``t`` of ``T`` (from 0) the slices of redundant units are multiplied by ``(T - t - 1) / (T - t)``. Without
gradients they would shrink in equal parts, and the last factor is zero (HESSO, arXiv 2409.09085).

All that holds a redundant unit decays where zero is harmless: kernels, biases, scales of normalisation, tables, so
that the unit's activation vanishes where it is not only ignored. What something is divided by keeps its size, as in
:func:`compressor.pruning.cut.surgery.mask`, and so do running statistics, which are no parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
import onnx_ir as ir
import torch

from compressor.channels.channel_mask import ChannelMask
from compressor.operators.table import operator_of
from compressor.pruning.cut import surgery
from compressor.train.module.trainable import parameters
from compressor.train.regularizers.coupled_channels import may_vanish
from compressor.train.regularizers.regularizer import Regularizer, RegularizerRow, TrainedChannels


class Decay(Regularizer):
    """Fades parts of parameters to zero.

    The last weights count, not those of the best epoch, in which the parts were not zero yet. For the same reason
    stop no run early and average no weights.

    Args:
        gone: by name of the parameter, bool that broadcasts to it: what fades.
        share: of the steps of the run in which it fades; in the others it stays zero.
    """

    def __init__(self, gone: Mapping[str, torch.Tensor], *, share: float = 1.0) -> None:
        self._gone, self._share = dict(gone), share
        self._parts: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        self._steps = 1

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
        """Shrinks what fades; the factor depends on the step alone, so that a checkpoint has nothing to hold."""
        # Steps count from 1 here, so ``left / (left + 1)`` is ``(T - t - 1) / (T - t)`` of the text above.
        left = max(0, self._steps - step)
        for parameter, gone in self._parts:
            if left:
                parameter.mul_(torch.where(gone, left / (left + 1), 1.0).to(parameter.dtype))
            else:
                # Filled and not multiplied by zero, which would leave a NaN or a minus sign.
                parameter.masked_fill_(gone, 0.0)


def decay(cut: ChannelMask, model: ir.Model, *, share: float = 1.0) -> Decay:
    """The decay of all that a cut removes.

    Args:
        cut: on the analysed ``model``; not changed.
        model: the module to be trained is made of it.
        share: of the steps of the run in which that fades; in the others it stays zero.
    """
    trained = parameters(model.graph)
    gone = {
        str(value.name): torch.from_numpy(np.array(~kept))
        for value in model.graph.initializers.values()
        if (kept := cut.mask(value)) is not None and value in trained and may_vanish(value)
    }
    return Decay(gone, share=share)


def is_exact(cut: ChannelMask, model: ir.Model) -> bool:
    """Is removal known to change nothing once all that a cut removes is zero, where zero does no harm?

    Not where a norm, a mean or a maximum runs over removed positions: they count as zeros before and not at all
    afterwards. Nor where activations meet each other in a product (attention), though what meets there has faded, too.

    Args:
        cut: on the analysed ``model``; not changed.
        model: the module to be trained is made of it.
    """
    trained = parameters(model.graph)
    for value in model.graph.initializers.values():
        fades = value in trained and may_vanish(value)
        # A kernel that is not trained, or must not vanish, still multiplies what is removed by something.
        if cut.mask(value) is not None and not fades and any(operator_of(n).multiplies for n, _ in value.uses()):
            return False
    _, reference = surgery.mask(model, cut)
    # Nothing was masked beyond kernels, and no statistic was taken over kept channels alone.
    return not (reference.masked or reference.statistics)


def _make(subject: TrainedChannels) -> Regularizer:
    found = decay(subject.cut, subject.analysis.model)
    subject.demand(bool(found.names), "trained weights of channels")
    return found


DECAY = RegularizerRow(_make, "before", fades=True)
