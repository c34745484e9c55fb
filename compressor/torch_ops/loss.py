"""Losses that a graph computes itself (ONNX NegativeLogLikelihoodLoss-22, SoftmaxCrossEntropyLoss-13)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.site import Function, FunctionMaker, Site

Tensor = torch.Tensor


def _likelihood(site: Site) -> Function:
    # Where the node names no label to ignore, torch's own is none that ONNX allows.
    how = {"reduction": "mean"} | {k: v for k, v in site.attributes.items() if k in ("reduction", "ignore_index")}

    def run(x: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        # ONNX allows class numbers of 32 bits, for which torch has no kernel.
        return F.nll_loss(x, target.to(torch.int64), weight, **how)

    return run


def _cross_entropy(site: Site) -> Function:
    likelihood = _likelihood(site)

    def run(x: Tensor, target: Tensor, weight: Tensor | None = None) -> object:
        # Computed once, as the node may hand them out as well.
        logarithms = torch.log_softmax(x, 1)
        loss = likelihood(logarithms, target, weight)
        return (loss, logarithms) if site.wants(1) else loss

    return run


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "NegativeLogLikelihoodLoss": _likelihood,
        "SoftmaxCrossEntropyLoss": _cross_entropy,
    }
)
