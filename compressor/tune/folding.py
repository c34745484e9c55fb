"""What folding an inserted BatchNormalization will multiply weights by, while it is still being trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from compressor.tune.batchnorm import EPSILON, MARK
from compressor.tune.layers import layer_before


@dataclass(frozen=True)
class FoldedScale:
    """``gamma / sqrt(var + epsilon)`` of a normalisation, from what the module holds now.

    Attributes:
        gamma: name of the scale.
        variance: name of the running variance.
        channels: output channel of each factor, in a shape that broadcasts to the weight.
    """

    gamma: str
    variance: str
    channels: npt.NDArray[np.int64]

    def __call__(self, module: torch.nn.Module) -> torch.Tensor:
        """The factors."""
        state = module.state_dict()
        factors: torch.Tensor = state[self.gamma] / (state[self.variance] + EPSILON).sqrt()
        return factors[torch.from_numpy(self.channels).to(factors.device)]


def scales_of(model: ir.Model, channels: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, FoldedScale]:
    """The factors of those weights, by name, that have an inserted normalisation behind them.

    Args:
        model: from :func:`compressor.tune.batchnorm.insert`, or any.
        channels: by name of the weight, the output channel of its entries, in a shape that broadcasts to it.
    """
    found = {}
    for node in model.graph:
        if MARK in node.metadata_props:
            name = str(layer_before(node.inputs[0], model.graph).weight.name)
            if name in channels:
                gamma, variance = node.inputs[1], node.inputs[4]
                assert gamma is not None
                assert variance is not None
                found[name] = FoldedScale(str(gamma.name), str(variance.name), channels[name])
    return found
