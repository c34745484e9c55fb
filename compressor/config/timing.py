"""Settings of measuring a latency that is a target."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from compressor.config.common import Threads
from compressor.config.graph import Count
from compressor.config.section import Section, Shown


class TimingSection(Section):
    """One run that is timed."""

    title: ClassVar[str] = "Latency"

    batch: Count = Field(default=1, description="Samples in one run that is timed, where the model leaves that open.")
    threads: Threads = 0
    latency_cache: Annotated[Path | None, Shown("FOLDER")] = Field(
        default=None,
        description="Folder that keeps measured operator times for later runs. Default: in the user's cache folder.",
    )
