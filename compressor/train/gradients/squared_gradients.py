"""Mean squares of gradients, weight by weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from compressor.data import Batch
from compressor.train.gradients.saliency_loss import SaliencyLoss, outputs_of
from compressor.train.module.measuring import measuring_module


def squared_gradients(
    model: ir.Model, names: Sequence[str], batches: Iterable[Batch], seed: int
) -> dict[str, npt.NDArray[np.float64]]:
    """``E[g²]`` of a random projection of the outputs (:meth:`SaliencyLoss.probe`), over batches.

    Args:
        model: not changed.
        names: of initializers; those that the module does not train are left out.
        batches: samples; each batch is one draw of signs.
        seed: of the signs.

    Raises:
        UnsupportedOperator: a node has no function in torch.
        ModelError: no output is a real number.
    """
    module = measuring_module(model)
    trained = dict(module.named_parameters())
    weights = {name: trained[name] for name in names if name in trained}
    loss, count = SaliencyLoss(model.graph, seed), 0
    total = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    for batch in batches:
        slopes = torch.autograd.grad(loss.probe(outputs_of(module, batch)), [*weights.values()], allow_unused=True)
        for name, slope in zip(weights, slopes, strict=True):
            if slope is not None:
                # In float64: small squares would be lost in a long sum of float32.
                total[name] += slope.double().square()
        count += 1
    return {name: (tensor / max(count, 1)).cpu().numpy() for name, tensor in total.items()}
