"""What a criterion wants measured on the model before it scores, and what was found.

Whatever is measured is reduced at once to one number for each round (minibatch) and unit, so that it never grows
beyond rounds times units.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import Units

Rounds = npt.NDArray[np.float64]
"""float64[rounds, units]; column u belongs to unit u of the coupling."""


RANK_SAMPLES = 16
"""Samples whose feature maps are decomposed; more change the order of channels little (CHIP, section 3.3)."""


@dataclass(frozen=True)
class Quantity:
    """What has to be known of a measurement to make it.

    Attributes:
        name: of it.
        squares: it is squared in each round and averaged over rounds, so that many small ones say more than few large.
        join: how the numbers of two units become that of both together: ``np.add`` or ``np.maximum``.
        samples: on how many it is made at most; None: on as many as are asked for.
        data: it is made on samples.
    """

    name: str
    squares: bool = False
    join: np.ufunc = np.add
    samples: int | None = None
    data: bool = True


class Need(Enum):
    """A measurement; docs/criteria.md has the formulas.

    Of gradients (torch, ``compressor/train/gradients/saliency.py``):
        GATES: per minibatch, derivative of the loss by the unit's gate (a factor 1 on what its readers see).
        MOVES: the same of a random projection of the outputs, whether there are labels or not.
        SLOPES: GATES of the loss over all data.
        CURVATURE: w² times the diagonal Gauss-Newton entry, over all weights of the unit.
        FLOW: w (H g), over all weights of the unit.
        PATHS: share of the unit in the paths of the network with absolute weights; needs no data.

    Of activations (ONNX Runtime, ``compressor/pruning/activations.py``):
        ENERGY: mean square of what the unit's readers see.
        INPUT: the same, each reader weighted with the squared norm of its slice.
        PEAK: largest product of an activation and a weight of its readers.
        RANK: what the nuclear norm of the feature map loses without the unit.
    """

    GATES = Quantity("gates", squares=True)
    MOVES = Quantity("moves", squares=True)
    SLOPES = Quantity("slopes")
    CURVATURE = Quantity("curvature", squares=True)
    FLOW = Quantity("flow")
    PATHS = Quantity("paths", data=False)
    ENERGY = Quantity("energy")
    INPUT = Quantity("input")
    PEAK = Quantity("peak", join=np.maximum)
    RANK = Quantity("rank", samples=RANK_SAMPLES)


@dataclass(frozen=True)
class Measurement:
    """What was measured, by unit.

    Units that are merged later (balancing pairs them) own what their parts owned: gates multiply one value together,
    so their derivatives add up, and so do energies; of peaks the largest counts.

    Attributes:
        rounds: one row a round; not finite where the model computes no number.
        units: those of the coupling it was measured on.
        join: how parts become one, see :class:`Quantity`.
    """

    rounds: Rounds
    units: Units
    join: np.ufunc = np.add

    def of(self, group: ChannelGroup) -> Rounds:
        """float64[rounds, n units] of the group, finite."""
        roots = self.units.find(np.arange(self.rounds.shape[1]))
        order = np.argsort(group.units)
        place = np.minimum(np.searchsorted(group.units[order], roots), len(order) - 1)
        mine = np.flatnonzero(group.units[order][place] == roots)
        joined = np.zeros((len(order), len(self.rounds)))
        self.join.at(joined, order[place[mine]], self.rounds[:, mine].T)
        return np.nan_to_num(joined.T, nan=0.0, posinf=LARGEST_MEASURED, neginf=-LARGEST_MEASURED)


LARGEST_MEASURED = 1e100
"""Stands for what is not finite; its square still is."""
