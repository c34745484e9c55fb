"""What a pruning run was given: the model, opened, with its settings, and a plan or samples where there are any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx_ir as ir

from compressor.channels.plan import PruningPlan, demand_files
from compressor.config import AMOUNTS, PruneSettings
from compressor.config.contradictions import contradiction
from compressor.core.beside import beside
from compressor.errors import UsageError
from compressor.graph.disk.joined import ModelOrigin, joined_of
from compressor.graph.disk.provenance import input_digest
from compressor.pruning.lossless import with_no_loss
from compressor.steps import run_files
from compressor.steps.run_samples import RunSamples


def settings_of_plan(settings: PruneSettings, plan: PruningPlan | None) -> PruneSettings:
    """The settings a run analyses with: a plan brings those that decide what hangs together."""
    if plan is None:
        return settings
    # JSON has lists only, and the settings hold tuples, which compare as unequal to lists.
    policy = {name: tuple(value) if isinstance(value, list) else value for name, value in plan.policy.items()}
    # Amounts go: the plan says what goes, and a target beside it would be aimed at as well. It goes at once, however
    # many steps led to it.
    return settings.model_copy(update={**dict.fromkeys(AMOUNTS), "lossless": False, "steps": 1, **policy})


@dataclass(frozen=True)
class PruneRequest:
    """What a run was given.

    Attributes:
        model: as it was read; several files joined.
        size: bytes on disk.
        file: where it was read from; None for a model in memory.
        settings: as they were asked for, with what a plan brings; they go into the file as provenance.
        plan: says what goes, where one is replayed.
        samples: the user's; None without any.
        digest: waits for what stands for the bytes of its files; None for a model in memory.
        spare: bytes that are kept free of a target, as an earlier try came out larger by so much.
    """

    model: ir.Model
    size: int
    file: Path | None
    settings: PruneSettings
    plan: PruningPlan | None
    samples: RunSamples | None
    digest: Callable[[], str | None]
    spare: int = 0

    @property
    def given(self) -> ModelOrigin:
        """Where it came from: a file, several of a joined model, or the model in memory."""
        return joined_of(self.model) or self.file or self.model

    @staticmethod
    def of(model: str | Path | ir.Model, settings: PruneSettings, plan: PruningPlan | None) -> PruneRequest:
        """Opens what was given.

        Raises:
            CompressorError: the model or the data is not readable, or the plan is of other files or contradicts the
                settings.
        """
        source, size = run_files.open_source(model, settings, settings.also)
        # Wanted at the end only, and a second's work for some gigabytes.
        digest = beside(partial(input_digest, source, model))
        if plan is not None:
            demand_files(plan, run_files.file_names(source) or ["the model"])
        settings = with_no_loss(settings_of_plan(settings, plan))
        # Once more, as a plan brings settings of its own.
        if plan is not None and (said := contradiction(settings, replayed=True)) is not None:
            raise UsageError(said)
        # Unreadable data is said before anything is analysed.
        samples = RunSamples.of(settings, source) if settings.data is not None else None
        file = None if isinstance(model, ir.Model) else Path(model)
        return PruneRequest(source, size, file, settings, plan, samples, digest)
