"""Settings of unified weights: blocks that share one absolute value, how a block is written, and which weights."""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from compressor.config.common import Globs, Latency, LeftWeights
from compressor.config.section import Applies, Section, Shown
from compressor.core.notation import parse_share, read_pairs

ALL = 0
"""Stands for the whole of an axis in a block's shape."""
_NAMED = MappingProxyType({"tap": "1x*x1", "kernel": "1x1x*", "filter": "1x*x*"})
_FORM = (
    "4x4, 1x8, 4x4x9 (outputs x inputs x taps, * for all), matrix:1x16, tap, kernel or filter; or values:16 and "
    "values:16/output for a codebook"
)
MOST_VALUES = 256
"""Values of a codebook: a code takes a byte at most."""
_CODEBOOK = re.compile(r"values:([1-9]\d{0,3})(/output)?")
_SIZE = re.compile(r"\*|[1-9]\d{0,8}")


@dataclass(frozen=True)
class BlockShape:
    """What one block spans: so many outputs, inputs and kernel taps; ``ALL`` spans the whole axis.

    Attributes:
        outputs: consecutive outputs (filters).
        inputs: consecutive inputs; with ``matrix``, consecutive columns of the (outputs x inputs·taps) matrix.
        taps: consecutive kernel taps in row-major order.
        matrix: inputs and taps are one axis, so that a block runs over taps into the next input.
        values: how many values the weights of a block take, of a codebook; 0 where they share one absolute value.
    """

    outputs: int
    inputs: int
    taps: int = 1
    matrix: bool = False
    values: int = 0

    @staticmethod
    def parse(text: str) -> "BlockShape":
        """Reads the notation of ``--block``; raises ValueError with the forms that are known."""
        name = text.strip().lower()
        codebook = _CODEBOOK.fullmatch(name)
        if codebook is not None:
            count = int(codebook[1])
            if not 2 <= count <= MOST_VALUES:
                raise ValueError(f"{text!r} is no codebook that a weight could share; take 2 to {MOST_VALUES} values")
            return BlockShape(1 if codebook[2] else ALL, ALL, ALL, values=count)
        # Whatever stands before ``matrix:`` is an error, so it is kept to be looked at.
        matrix, _, sizes = name.rpartition("matrix:")
        numbers = _NAMED.get(sizes, sizes).split("x")
        longest = 2 if name.startswith("matrix:") else 3
        if matrix or not 2 <= len(numbers) <= longest or not all(_SIZE.fullmatch(n) for n in numbers):
            raise ValueError(f"{text!r} is not a block; write {_FORM}")
        if set(numbers) == {"1"}:
            raise ValueError(f"{text!r} holds one weight, so there is nothing to share; write {_FORM}")
        outputs, inputs, taps = [ALL if n == "*" else int(n) for n in [*numbers, "1"][:3]]
        return BlockShape(outputs, inputs, taps, matrix=longest == 2)


def _block(text: str) -> str:
    BlockShape.parse(text)
    return text.strip().lower()


def _layer_blocks(value: object) -> object:
    return tuple(read_pairs(value, "=", "GLOB=BLOCK, such as 'layer4.*=1x8'"))


BlockShare = Annotated[float, Field(ge=0, le=1), BeforeValidator(parse_share)]
BlockText = Annotated[str, AfterValidator(_block)]


class BlocksSection(Section):
    """Shape of the blocks, and how many of them are unified or pruned."""

    title: ClassVar[str] = "Blocks"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(("codebook_per",), lambda s: s.codebook is not None, "there is no codebook; say --codebook K"),
    )

    block: Annotated[BlockText, Shown("BLOCK")] = Field(
        default="4x4", description=f"Shape of the blocks whose weights share one absolute value: {_FORM}."
    )
    codebook: Annotated[int | None, Field(ge=2, le=MOST_VALUES)] = Field(
        default=None,
        description="Instead of blocks of one absolute value: all weights of a tensor take so many values, stored as a "
        "table and a code a weight. The same as --block values:K.",
    )
    codebook_per: Literal["tensor", "output"] = Field(
        default="tensor", description="With --codebook: one table for a weight, or one for each of its outputs."
    )
    layer_block: Annotated[tuple[tuple[str, BlockText], ...], BeforeValidator(_layer_blocks), Shown("GLOB=BLOCK")] = (
        Field(
            default=(),
            description="Block of the weights that match GLOB, by their name or their node's, whatever the defaults "
            "leave alone; repeatable, the first match counts.",
        )
    )
    prune_share: BlockShare = Field(default=0.0, description="Share of each layer's blocks that become zero.")
    unify_share: BlockShare = Field(
        # Rounded, as 1 - 0.7 is not 0.3 in binary, and the counts of blocks are rounded down.
        default_factory=lambda values: round(1.0 - values.get("prune_share", 0.0), 12),
        description="Share of each layer's blocks that get one absolute value, those that it damages least; the "
        "rest stays as it is. Default: all that are not pruned.",
    )
    curvature: Literal["none", "inputs", "gradients"] = Field(
        default="none",
        description="How much a change of each weight matters: all alike; or, measured on --samples samples, as the "
        "mean square of what it multiplies, or of its gradient.",
    )

    @property
    def wanted_block(self) -> str:
        """The block of weights that no --layer-block names."""
        if self.codebook is None:
            return self.block
        return f"values:{self.codebook}" + "/output" * (self.codebook_per == "output")

    permute: bool = Field(
        default=False,
        description="Reorder channels first where that lowers the damage; exact, as all that depends on them moves "
        "along.",
    )


class WeightsSection(Section):
    """Which weights are unified."""

    title: ClassVar[str] = "Which weights"

    include: Globs = Field(
        default=(), description="Unify only weights that match GLOB, by their name or their node's; repeatable."
    )
    exclude: LeftWeights = ()
    all_layers: bool = Field(default=False, description="Unify the first and the last layer too.")
    min_weights: int = Field(default=256, ge=2, description="Leave alone weights with fewer elements than this.")


class StorageSection(Section):
    """How unified weights are written."""

    title: ClassVar[str] = "Storage"

    magnitudes: Literal["float16", "float32"] = Field(
        default="float16", description="How the shared absolute values are stored."
    )
    dense: bool = Field(
        default=False, description="Write the unified weights as plain tensors instead of packing them."
    )
    latency: Latency = False
