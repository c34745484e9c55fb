"""Losses that a graph computes itself (ONNX NegativeLogLikelihoodLoss-22, SoftmaxCrossEntropyLoss-13)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.torch_ops.site import Function, FunctionMaker, Site

Tensor = torch.Tensor

NO_CLASS = -100
"""The label that torch ignores by default; no index of ONNX is negative unless it is to be ignored."""


def _likelihood(site: Site) -> Function:
    how, ignored = site.get("reduction", "mean"), site.get("ignore_index", NO_CLASS)

    def run(x: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        # ONNX allows class numbers of 32 bits, for which torch has no kernel.
        return F.nll_loss(x, target.to(torch.int64), weight, ignore_index=ignored, reduction=how)

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
