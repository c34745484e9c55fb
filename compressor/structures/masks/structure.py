"""What a budget may be taken from, and the structures that are no mask; each mask is in the file of its maker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compressor.structures.layer.layers import Suits
    from compressor.structures.masks.maker import Maker


@dataclass(frozen=True)
class Structure:
    """What may be taken from a model, and how: channels, ranks of layers, weights, coefficients.

    Attributes:
        channels: whole channels.
        ranks: layers become two thinner ones.
        masks: makes masks over weights of convolutions; None where weights stay.
        basis: masks are laid over coefficients in a basis of each layer's kernels, and may be shared out by their
            energy.
        lowers: masks may become smaller layers; else their zeros stay in the file, which computes and weighs as much.
        suits: what is asked of a layer; None: that it can be divided into two.
    """

    channels: bool = False
    ranks: bool = False
    masks: Callable[[], Maker] | None = None
    basis: bool = False
    lowers: bool = True
    suits: Suits | None = None

    def left(self, ratio: float) -> float:
        """The share of a layer's multiply-accumulates that a ratio leaves.

        A mask takes this share of the weights; ranks take as much as channels do, from inputs and outputs.
        """
        return 1 - ratio if self.masks is not None else (1 - ratio) ** 2

    @property
    def layers(self) -> bool:
        """Do single layers change?"""
        return self.ranks or self.masks is not None


CHANNELS = Structure(channels=True)
LOWRANK = Structure(ranks=True)
BOTH = Structure(channels=True, ranks=True)
