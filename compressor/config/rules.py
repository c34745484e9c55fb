"""Settings of operators that nobody here knows."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from compressor.config.section import Section, Shown


class RulesSection(Section):
    """What is taught about operators."""

    title: ClassVar[str] = "Operators"

    op_rules: Annotated[Path | None, Shown("FILE")] = Field(
        default=None,
        description="YAML file that says how channels flow through operators of other domains; the proof tells "
        "whether it is right.",
    )
