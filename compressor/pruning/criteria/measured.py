"""Criteria that reduce what was measured of a unit to its score, one row each.

Of gradients: what the loss, or the output, does when a unit's gate closes. A gate is a factor of 1 on a unit where its
readers see it. Its derivative is the sum of weight times gradient over the slices that read the unit, or, for ReLU
networks equally, over the filters and biases of all that write it (a ReLU passes a positive factor on). Of
activations: what the readers of a unit see of it on data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.pruning.criteria.base import Scores, Weights
from compressor.pruning.criteria.measurement import Need, Rounds
from compressor.pruning.criteria.norms import Consumers


@dataclass(frozen=True)
class Measured:
    """A criterion that looks at one measurement.

    Attributes:
        needs: what is measured.
        reduce: makes of it, float64[rounds, n units], the importance of each unit, float64[n], not negative.
    """

    needs: Need
    reduce: Callable[[Rounds], Scores]

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n].

        Where all are zero nothing of the group could be measured (quantised weights have no gradient, and a gate that
        is open has none), and :class:`Consumers` scores it.
        """
        scores = self.reduce(weights.measured(group))
        return scores if scores.any() else Consumers().score(group, weights)


def _mean_square(rounds: Rounds) -> Scores:
    return np.asarray(np.mean(np.square(rounds), axis=0))


def _size_of_sum(rounds: Rounds) -> Scores:
    return np.asarray(np.abs(rounds.sum(axis=0)))


def _root_of_mean(rounds: Rounds) -> Scores:
    return np.asarray(np.sqrt(np.mean(rounds, axis=0)))


def _above_lowest(rounds: Rounds) -> Scores:
    flow = rounds.sum(axis=0)
    return np.asarray(flow - flow.min())


TAYLOR = Measured(Need.GATES, _mean_square)
"""Mean over minibatches of ``(sum of w dL/dw)²`` (Molchanov et al., arXiv 1906.10771, eq. 8, in gate form).

With labels L is their cross-entropy. Without, it is the distance of the outputs to the model's own: its gradient is
zero, and the score is its second derivative by the gate, ``E |d outputs / d gate|²``.
"""
FISHER = Measured(Need.MOVES, _mean_square)
"""``E |d outputs / d gate|²``: how far the outputs move when the gate closes, whatever the labels say.

The diagonal, by gate, of the Fisher matrix of a Gaussian around the outputs; the cost of distilling the model from
itself, to second order. :data:`TAYLOR` without labels is the same.
"""
SNIP = Measured(Need.SLOPES, _size_of_sum)
"""``|sum of w dL/dw|`` over all data (SNIP, arXiv 1810.02340, eq. 5, summed over the unit before the modulus)."""
GRASP = Measured(Need.FLOW, _above_lowest)
"""``sum of w (H g)``, signed (GraSP, arXiv 2002.07376, eq. 8): what keeps the gradient flowing stays.

Shifted so that the lowest of the group is 0, as scores are not negative. Made for networks before training; on trained
ones it is unstable.
"""
HESSIAN = Measured(Need.CURVATURE, lambda rounds: rounds.mean(axis=0))
"""``sum of w² h`` (optimal brain damage, LeCun et al. 1990, eq. 5), with h the Gauss-Newton diagonal."""
SYNFLOW = Measured(Need.PATHS, _size_of_sum)
"""``sum of |w| dR/d|w|``, R the output for absolute weights and an input of ones (arXiv 2006.05467, eq. 2).

Needs no data. Meant to be repeated: ``--steps 100 --schedule exponential``.
"""
ACTIVATION = Measured(Need.ENERGY, _root_of_mean)
"""Root mean square of the unit's activations, as its readers see them."""
WANDA = Measured(Need.INPUT, _root_of_mean)
"""``|W[:, j]| |a_j|``, root of the sum of squares over readers (Wanda, arXiv 2306.11695, eq. 1, by channel)."""
PFP = Measured(Need.PEAK, lambda rounds: rounds.max(axis=0))
"""``max |W[:, j] a_j(x)|`` over samples, positions and readers (provable filter pruning, arXiv 1911.07412)."""
CHIP = Measured(Need.RANK, lambda rounds: np.maximum(rounds.mean(axis=0), 0.0))
"""Nuclear norm of the feature map, less that without the channel (CHIP, arXiv 2110.13981, eq. 3), mean over images."""
