"""What each kind of stage is: the settings and the function behind the command of that name.

The names are in :data:`compressor.config.choices.STAGES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.commands import bench, choose_blocks, verify
from compressor.commands.clean import clean_file
from compressor.commands.prune_file import prune_file
from compressor.commands.quantize import quantize_file
from compressor.config import (
    BenchSettings,
    CleanSettings,
    PruneSettings,
    RunSettings,
    SparsifySettings,
    UnifySettings,
    VerifySettings,
)
from compressor.config.choosing import ChoosingSettings
from compressor.config.quantize import QuantizeSettings
from compressor.config.sparsity import SparsifyStageSettings
from compressor.core.checkpoint_folder import has_checkpoint
from compressor.core.clock import Progress
from compressor.core.metrics import Metrics
from compressor.recipe.store import MODEL
from compressor.results import Document, ModelStats, Report
from compressor.results.bench import BenchReport
from compressor.results.finetune import TuneReport
from compressor.results.quantize import QuantizeReport
from compressor.results.unify import UnifyReport
from compressor.results.verify import VerifyReport
from compressor.steps import run_files

if TYPE_CHECKING:
    from compressor.train.loop.history import Event

CHECKPOINT = "checkpoint"
MEASUREMENTS = 3
"""How often a noisy measurement is made."""


@dataclass(frozen=True)
class Task:
    """One stage, ready to run.

    Attributes:
        original: the model of the recipe.
        source: the model that the stages before made of it.
        folder: where this one writes.
        settings: of the class that its kind has.
    """

    original: Path
    source: Path
    folder: Path
    settings: Any

    @property
    def output(self) -> Path:
        """The model that it makes."""
        return self.folder / MODEL


@dataclass(frozen=True)
class Stage:
    """A kind of stage.

    Attributes:
        settings: those of the command of that name.
        run: does it, and tells what runs.
        report: what ``run`` gives.
        made: the sizes of the model that it wrote to ``Task.output``, from what ``run`` gave; None for a stage that
            looks at ``Task.source`` and writes none.
        trains: whether it trains with these settings, so that torch has to be there.
        compares: whether it looks at the original too.
        measures: whether what it finds is about the machine it runs on.
        real_weights: whether it works on weights of real numbers, so that it has to come before one that quantises.
        quantises: whether it leaves integers as weights.
    """

    settings: type[RunSettings]
    run: Callable[[Task, Progress | None], Document]
    report: type[Document]
    made: Callable[[Any, Task], ModelStats | None] | None
    trains: Callable[[Any], bool] = lambda _: False
    compares: bool = False
    measures: bool = False
    real_weights: bool = False
    quantises: bool = False

    @property
    def makes_model(self) -> bool:
        """Does it write a model?"""
        return self.made is not None


def reported(document: Report | UnifyReport, task: Task) -> ModelStats | None:  # noqa: ARG001 - one of two ways to know
    """What a report says of the model that was written."""
    return document.output


def read_again(document: Document, task: Task) -> ModelStats:  # noqa: ARG001 - one of two ways to know
    """Sizes of the written file, where the report has none."""
    return run_files.read_back(task.output, task.settings)


def _clean(task: Task, progress: Progress | None) -> Report:
    return clean_file(task.source, task.output, task.settings, progress)


def _prune(task: Task, progress: Progress | None) -> Report:
    settings: PruneSettings = task.settings
    if settings.trains:
        once = settings.steps == 1
        settings = settings.model_copy(update=_resumed(task.folder, able=once))
    return prune_file(task.source, task.output, settings, progress=progress).report


def _finetune(task: Task, progress: Progress | None) -> TuneReport:
    from compressor.commands.finetune import finetune_file  # noqa: PLC0415 - torch is loaded for training only
    from compressor.train.summary import tune_report  # noqa: PLC0415

    settings: SparsifySettings = task.settings.model_copy(update=_resumed(task.folder))
    metrics = Metrics(settings.metrics, resumed=settings.resume) if settings.metrics is not None else None

    def observe(event: Event) -> None:
        if metrics is not None:
            metrics.add(event.as_json())
        if progress is not None:
            progress(event.told("finetune"))

    done = finetune_file(task.source, task.output, settings, teacher=task.original, observe=observe)
    return tune_report(done, settings, source=task.source, teacher=task.original, output=task.output)


def _resumed(folder: Path, *, able: bool = True) -> dict[str, Any]:
    """Settings by which training keeps its checkpoint in the stage's folder, and goes on from one that is there.

    ``able`` is false for pruning in several steps, which starts anew: not every step that it resumes has a checkpoint.
    """
    place = folder / CHECKPOINT
    return {"checkpoint": place, "keep_checkpoint": False, "resume": able and has_checkpoint(place)}


def _unify(task: Task, progress: Progress | None) -> UnifyReport:
    settings: ChoosingSettings = task.settings
    if settings.trains:
        # The recipe's model and not the last stage's, which has lost something already.
        settings = settings.model_copy(update={"teacher": task.original, **_resumed(task.folder)})
    return choose_blocks.unify_chosen_file(task.source, task.output, settings, progress=progress)


def _quantize(task: Task, progress: Progress | None) -> QuantizeReport:
    return quantize_file(task.source, task.output, task.settings, progress)


def _verify(task: Task, progress: Progress | None) -> VerifyReport:
    return verify.verify(task.original, task.source, task.settings, progress)


def _bench(task: Task, progress: Progress | None) -> BenchReport:
    """Measured again, at most :data:`MEASUREMENTS` times in all, while the machine is noisy; the last one counts."""
    # The whole measurement again: noise that lasts is in every round of one.
    report = bench.bench(task.original, task.source, task.settings, progress)
    for _ in range(MEASUREMENTS - 1):
        if not any(run.noisy for run in report.runs):
            break
        if progress is not None:
            progress("the machine was noisy, measuring again")
        report = bench.bench(task.original, task.source, task.settings, progress)
    return report


def _always(settings: RunSettings) -> bool:  # noqa: ARG001 - whatever they are
    return True


def _says(settings: PruneSettings | UnifySettings) -> bool:
    return settings.trains


CLEAN = Stage(CleanSettings, _clean, Report, reported)
PRUNE = Stage(PruneSettings, _prune, Report, reported, _says, real_weights=True)
FINETUNE = Stage(SparsifySettings, _finetune, TuneReport, read_again, _always, compares=True, real_weights=True)
SPARSIFY = replace(FINETUNE, settings=SparsifyStageSettings)
UNIFY = Stage(ChoosingSettings, _unify, UnifyReport, reported, _says, compares=True, real_weights=True)
QUANTIZE = Stage(QuantizeSettings, _quantize, QuantizeReport, reported, quantises=True)
VERIFY = Stage(VerifySettings, _verify, VerifyReport, made=None, compares=True)
BENCH = Stage(BenchSettings, _bench, BenchReport, made=None, compares=True, measures=True)
