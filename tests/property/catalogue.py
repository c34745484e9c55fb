"""All blocks by the rank of what they take: 4 images, 3 tokens, 2 features."""

from __future__ import annotations

from dataclasses import replace

from . import (
    activations,
    blocks_attention,
    blocks_conv,
    blocks_features,
    blocks_join,
    blocks_norm,
    blocks_odd,
    blocks_recurrent,
    blocks_space,
    blocks_tokens,
)
from .blocks_ends import CONVERSIONS
from .growing import Block

KINDS = {4: "image", 3: "tokens", 2: "features"}
_ANY = activations.BLOCKS + blocks_join.BLOCKS + blocks_odd.BLOCKS
_OWN = {
    4: blocks_conv.BLOCKS + blocks_space.BLOCKS + blocks_norm.BLOCKS + blocks_join.IMAGE_ONLY,
    3: blocks_tokens.BLOCKS + blocks_attention.BLOCKS + blocks_recurrent.BLOCKS,
    2: blocks_features.BLOCKS,
}


def _table(rank: int) -> tuple[Block, ...]:
    """The blocks for one rank; those of any rank are rarer here, as they stand in all three tables."""
    named = [replace(block, name=f"{KINDS[rank]}.{block.name}") for block in _OWN[rank] + CONVERSIONS[rank]]
    shared = [replace(block, name=f"{KINDS[rank]}.{block.name}", weight=block.weight * 0.6) for block in _ANY]
    return tuple(named + shared)


BLOCKS: dict[int, tuple[Block, ...]] = {rank: _table(rank) for rank in KINDS}
