"""Settings that several commands have with one meaning: type, range, form and help, stated once."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from compressor.config.section import Operational, Shown
from compressor.core.notation import parse_texts

MOST_THREADS = 1024
"""Threads that one may ask for: more than machines have cores, and few enough to be started."""

Threads = Annotated[
    int,
    Field(
        ge=0,
        le=MOST_THREADS,
        description="Threads inside an operator; 0 leaves it to ONNX Runtime, which takes all cores.",
    ),
]
Jobs = Annotated[
    int, Operational(), Field(ge=0, description="Measurements at a time, one thread each; 0 for one a core.")
]
Cluster = Annotated[
    str | None,
    Shown("dask://HOST:PORT"),
    Operational(),
    Field(description="Measure on the workers of this Dask scheduler instead (extra cluster)."),
]
Latency = Annotated[bool, Field(description="Also time the original and the written model in turns, on --provider.")]
Globs = Annotated[tuple[str, ...], BeforeValidator(parse_texts), Shown("GLOB")]
"""Patterns of names; what they pick differs by command."""
LeftWeights = Annotated[Globs, Field(description="Leave alone every weight that matches GLOB; repeatable.")]
