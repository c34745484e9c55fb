"""What a budget may be taken from that is no mask; each mask is in the file of its maker."""

from compressor.structures.masks.maker import Structure

__all__ = ["BOTH", "CHANNELS", "LOWRANK", "Structure"]

CHANNELS = Structure(channels=True)
LOWRANK = Structure(ranks=True)
BOTH = Structure(channels=True, ranks=True)
