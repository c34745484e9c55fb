"""Weights that are zero when training starts stay zero: retraining under a fixed mask (arXiv 1506.02626)."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from compressor.train.constraints.masked import SubspaceProjection


class Support:
    """The weights that are zero outside of where a given one is not: a linear subspace.

    Args:
        weight: says where.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self._kept = weight != 0

    def project(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with zeros wherever the given one has them; the nearest in the subspace."""
        return torch.where(self._kept, weight, torch.zeros_like(weight))


def zeros_stay(names: Iterable[str]) -> SubspaceProjection:
    """An extension of training that holds the zeros of these parameters."""
    return SubspaceProjection(dict.fromkeys(names, Support))
