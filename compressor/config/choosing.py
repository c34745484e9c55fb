"""Settings of unification whose blocks are chosen by what they cost."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from compressor.config.blocks import BlockText
from compressor.config.common import Cluster, Jobs
from compressor.config.data import MEASURED_SAMPLES
from compressor.config.gates import Distance, Drop
from compressor.config.section import Applies, Section, Shown
from compressor.config.target import FileSize
from compressor.config.unify import UnifySettings
from compressor.core.notation import split_commas

LADDER = ("8x8", "4x8", "4x4", "1x8", "1x4")
"""Blocks that are tried by default, coarse to fine: fewer numbers are stored the larger a block is."""
CODEBOOKS = ("values:4/output", "values:8/output", "values:16/output")
"""What a budget of bytes chooses from as well; a limit on what is lost takes it where the ladder says so."""


def _ladder(value: object) -> object:
    """``("8x8,4x4",)`` as texts, each once."""
    return tuple(dict.fromkeys(split_commas(value)))


def _default_ladder(values: dict[str, Any]) -> tuple[str, ...]:
    # A limit on what is lost asks for blocks; a budget of bytes is met better with codebooks among the choices.
    return LADDER if values.get("target_size") is None else (*LADDER, *CODEBOOKS)


class ChoosingSection(Section):
    """A limit on what is lost, within which every layer gets the block that saves most."""

    title: ClassVar[str] = "Blocks by what they cost"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(
            ("ladder",),
            lambda s: s.chooses,
            "blocks are not chosen by what they cost; give --max-drop, --max-distance or --target-size",
        ),
        Applies(
            ("block", "codebook", "codebook_per"),
            lambda s: not s.chooses,
            "blocks are chosen from --ladder; name them there, such as --ladder 4x4, or for a codebook --ladder "
            "values:16/output",
        ),
    )

    max_drop: Annotated[Drop | None, Shown("SHARE")] = Field(
        default=None,
        description="Choose a block for each layer so that, before any training, no more accuracy is lost, such as "
        "0.01 or 1%; needs data with labels.",
    )
    max_distance: Annotated[Distance | None, Shown("SHARE")] = Field(
        default=None,
        description="The same, so that outputs move by no more than this share of their norm, such as 0.05 or 5%; "
        "needs no labels, and without --data no samples.",
    )
    target_size: Annotated[FileSize | None, Shown("SIZE")] = Field(
        default=None,
        description="Choose a block or a codebook for each layer so that the file has at most so many bytes, such as "
        "200kB, or this share of the original, and outputs move as little as can be before any training.",
    )
    ladder: Annotated[tuple[BlockText, ...], BeforeValidator(_ladder), Shown("X[,X]")] = Field(
        default_factory=_default_ladder,
        description="Blocks and codebooks to choose from with --max-drop, --max-distance or --target-size. Default: "
        f"{','.join(LADDER)}; for --target-size {','.join(CODEBOOKS)} too.",
    )
    jobs: Jobs = 0
    cluster: Cluster = None

    @property
    def chooses(self) -> bool:
        """Is a limit set, within which blocks are chosen?"""
        return any(limit is not None for limit in (self.max_drop, self.max_distance, self.target_size))


class ChoosingSettings(ChoosingSection, UnifySettings):
    """Settings of a run that may choose a block for every layer, within a limit on what is lost."""

    samples: int = Field(default=MEASURED_SAMPLES, ge=1, description="Samples to calibrate and to choose on.")
