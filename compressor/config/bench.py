"""Settings of a latency measurement."""

import re
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from compressor.config.base import RunSettings
from compressor.config.common import Threads
from compressor.config.graph import Count
from compressor.config.proof import PROVIDER, Provider, where_run
from compressor.config.section import Applies, Section, Shown
from compressor.core.notation import MILLISECONDS

CONFIDENCE = 0.99
"""That of intervals of speed-ups."""
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|µs|ms|s|)", re.IGNORECASE)


def _batches(value: object) -> object:
    """``1,32`` or ``("1,8", "32")`` as numbers in the order given, each once."""
    items = [value] if isinstance(value, (str, int)) else list(value) if isinstance(value, (tuple, list)) else None
    if items is None:
        return value
    parts = [part.strip() for item in items for part in str(item).split(",") if part.strip()]
    # ``dict.fromkeys`` keeps the order, which a set would not.
    return tuple(dict.fromkeys(parts))


def _milliseconds(value: object) -> object:
    # Numbers are milliseconds already.
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a time such as 2.5ms, 800us or 0.1s")
    return float(match[1]) * MILLISECONDS[match[2].lower() or "ms"]


class WhereSection(Section):
    """The machine that is measured."""

    title: ClassVar[str] = "Where it runs"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(
            ("io_binding", "cuda_graph"), lambda s: s.provider != "cpu", "that is for accelerators; say --provider"
        ),
    )

    provider: Provider = Field(default=PROVIDER, description=where_run("the models"))
    threads: Threads = 0
    io_binding: bool = Field(
        default=True,
        description="On an accelerator, keep inputs and outputs in its memory, so that copies are not timed.",
    )
    cuda_graph: bool = Field(
        default=False, description="Record the kernels of a run once and replay them (CUDA, TensorRT; fixed shapes)."
    )


class WhatSection(Section):
    """What is measured beside the time of a run."""

    title: ClassVar[str] = "What"

    batch: Annotated[tuple[Count, ...], BeforeValidator(_batches)] = Field(
        default=(),
        description="Samples in one run, where the model leaves that open; several as 1,32 are measured one after the "
        "other. Default: 1.",
    )
    profile: bool = Field(default=False, description="Time every operator in both models.")
    memory: bool = Field(default=True, description="Measure the memory of each model in a process of its own.")


class LengthSection(Section):
    """How long is measured, and how sure the result is to be."""

    title: ClassVar[str] = "How long"

    runs: int = Field(default=100, ge=10, description="Runs of each model that are timed at least.")
    seconds: float = Field(default=3.0, ge=0, description="Time that the timed runs take together at least.")
    max_seconds: float = Field(
        default=60.0, gt=0, description="Time after which no further pair is started, even where runs are missing."
    )
    warmup_runs: int = Field(default=10, ge=1, description="Runs before the clock counts, at least.")
    warmup_seconds: float = Field(default=0.2, ge=0, description="Time of the runs before the clock counts, at least.")
    rounds: int = Field(
        default=10,
        ge=1,
        description="How often both models are loaded anew; where a model comes to lie in memory changes its speed.",
    )
    confidence: float = Field(
        default=CONFIDENCE, gt=0.5, lt=1, description="Confidence of the interval of the speed-up."
    )


class SpeedGatesSection(Section):
    """Limits on the result."""

    title: ClassVar[str] = "Gates"

    min_speedup: float | None = Field(
        default=None, gt=0, description="Fail unless B is at least X times as fast as A, by medians, at every batch."
    )
    max_latency: Annotated[float | None, BeforeValidator(_milliseconds), Shown("TIME")] = Field(
        default=None,
        gt=0,
        description="Fail unless the median of the last model is at most this, such as 2.5ms, at every batch.",
    )


class BenchSettings(WhereSection, WhatSection, LengthSection, SpeedGatesSection, RunSettings):
    """Settings of a latency measurement."""
