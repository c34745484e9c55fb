"""Limits on the result of a pruning run, or it is not written."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from compressor.config.section import Section, Shown
from compressor.config.target import Size
from compressor.core.notation import parse_share


class GatesSection(Section):
    """Limits on the result, or it is not written."""

    title: ClassVar[str] = "Gates"

    max_drop: Annotated[float | None, Field(ge=0, le=1), BeforeValidator(parse_share), Shown("SHARE")] = Field(
        default=None, description="Most accuracy that may be lost, such as 0.01 or 1%; needs data with labels."
    )
    max_size: Annotated[Size | None, Shown("SIZE")] = Field(
        default=None, description="Largest file that is accepted: bytes such as 500kB, or a share of the original."
    )
