"""Criteria of gradients: what the loss, or the output, does when a unit's gate closes.

A gate is a factor of 1 on a unit where its readers see it. Its derivative is the sum of weight times gradient over
the slices that read the unit, or, for ReLU networks equally, over the filters and biases of all that write it
(methods, "two facts").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.pruning.criteria.base import Scores, Weights
from compressor.pruning.criteria.measurement import Need
from compressor.pruning.criteria.norms import unless_silent


@dataclass(frozen=True)
class Taylor:
    """Mean over minibatches of ``(sum of w dL/dw)²`` (Molchanov et al., arXiv 1906.10771, eq. 8, in gate form).

    With labels L is their cross-entropy. Without, it is the distance of the outputs to the model's own: its
    gradient is zero, and the score is its second derivative by the gate, ``E |d outputs / d gate|²``.
    """

    needs: ClassVar[Need | None] = Need.GATES

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n]."""
        return unless_silent(np.mean(np.square(weights.measured(group)), axis=0), group, weights)


@dataclass(frozen=True)
class Fisher:
    """``E |d outputs / d gate|²``: how far the outputs move when the gate closes, whatever the labels say.

    The diagonal, by gate, of the Fisher matrix of a Gaussian around the outputs; the cost of distilling the model
    from itself, to second order. :class:`Taylor` without labels is the same.
    """

    needs: ClassVar[Need | None] = Need.MOVES

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n]."""
        return unless_silent(np.mean(np.square(weights.measured(group)), axis=0), group, weights)


@dataclass(frozen=True)
class Snip:
    """``|sum of w dL/dw|`` over all data (SNIP, arXiv 1810.02340, eq. 5, summed over the unit before the modulus)."""

    needs: ClassVar[Need | None] = Need.SLOPES

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n]."""
        return unless_silent(np.abs(weights.measured(group).sum(axis=0)), group, weights)


@dataclass(frozen=True)
class Grasp:
    """``sum of w (H g)``, signed (GraSP, arXiv 2002.07376, eq. 8): what keeps the gradient flowing stays.

    Made for networks before training; on trained ones it is unstable.
    """

    needs: ClassVar[Need | None] = Need.FLOW

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """float64[n]; shifted so that the lowest of the group is 0, as scores are not negative."""
        flow = weights.measured(group).sum(axis=0)
        return unless_silent(flow - flow.min(), group, weights)


@dataclass(frozen=True)
class Hessian:
    """``sum of w² h`` (optimal brain damage, LeCun et al. 1990, eq. 5), with h the Gauss-Newton diagonal."""

    needs: ClassVar[Need | None] = Need.CURVATURE

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n]."""
        return unless_silent(np.mean(weights.measured(group), axis=0), group, weights)


@dataclass(frozen=True)
class SynFlow:
    """``sum of |w| dR/d|w|``, R the output for absolute weights and an input of ones (arXiv 2006.05467, eq. 2).

    Needs no data. Meant to be repeated: ``--steps 100 --schedule exponential``.
    """

    needs: ClassVar[Need | None] = Need.PATHS

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n]."""
        return unless_silent(np.abs(weights.measured(group).sum(axis=0)), group, weights)
