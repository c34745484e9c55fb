"""What a budget may be taken from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compressor.structures.geometry import divisible, maskable, spatial
from compressor.structures.interspace.coefficients import Coefficients, Columns
from compressor.structures.layers import Suits
from compressor.structures.masks.graph import Graph
from compressor.structures.masks.groups import Groups
from compressor.structures.masks.maker import Maker
from compressor.structures.masks.nm import NofM
from compressor.structures.masks.supports import Supports


@dataclass(frozen=True)
class Structure:
    """What goes.

    Attributes:
        channels: whole channels.
        ranks: layers become two thinner ones.
        masks: makes masks over weights of convolutions; None where weights stay.
        basis: masks are laid over coefficients in a basis of each layer's kernels, and may be shared out by their
            energy.
        suits: what is asked of a layer.
    """

    channels: bool = False
    ranks: bool = False
    masks: Callable[[], Maker] | None = None
    basis: bool = False
    suits: Suits = divisible

    @property
    def layers(self) -> bool:
        """Do single layers change?"""
        return self.ranks or self.masks is not None


CHANNELS = Structure(channels=True)
LOWRANK = Structure(ranks=True)
BOTH = Structure(channels=True, ranks=True)
GROUPS = Structure(masks=Groups, suits=maskable)
GRAPH = Structure(masks=Graph, suits=maskable)
SUPPORTS = Structure(masks=Supports, suits=maskable)
NM = Structure(masks=NofM, suits=maskable)
INTERSPACE = Structure(masks=Coefficients, basis=True, suits=maskable)
COLUMNS = Structure(masks=Columns, basis=True, suits=spatial)
