"""What masks and ranks of single layers the settings allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compressor.config import PruneSettings
from compressor.config.target import FINE, NARROW

if TYPE_CHECKING:
    from compressor.structures.lowrank.curves import Ranks
    from compressor.structures.mask_curves import MaskOffer
    from compressor.structures.masks.structure import Structure


def offer_of(structure: Structure, settings: PruneSettings, counts: str = "macs") -> MaskOffer:
    """How the masks of a structure, which has some, become options, as the settings ask for it."""
    from compressor.structures.interspace.basis import STARTS
    from compressor.structures.mask_curves import MaskOffer

    assert structure.masks is not None
    if not structure.basis:
        return MaskOffer(structure.masks())
    scope = "loss" if settings.scope == "auto" else settings.scope
    return MaskOffer(structure.masks(), STARTS[settings.basis], np.dtype(settings.coefficients), scope, counts)


def ranks_of(settings: PruneSettings) -> Ranks:
    """The ranks that the settings allow: as many as channels of a group may be left."""
    from compressor.structures.lowrank.curves import Ranks

    rounded = settings.given("round_to")
    multiple = settings.round_to
    return Ranks(multiple, multiple if rounded else min(multiple, FINE), NARROW, 1 - settings.max_ratio)
