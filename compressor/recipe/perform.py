"""One stage: runs it, or takes what it gave before from the same model with the same settings."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compressor.config import RunSettings
from compressor.config.choices import STAGES
from compressor.config.recipe import DATA_SETTINGS, FILES, MANAGED, STAGE_GATES, read_by, stage_kind
from compressor.core.clock import Progress
from compressor.core.notation import parse_also
from compressor.errors import CompressorError, ModelError
from compressor.recipe.stages import Task
from compressor.recipe.store import MODEL, Store, data_identity, model_digest
from compressor.results import Document, ModelStats
from compressor.results.base import Record
from compressor.results.bench import BenchReport
from compressor.results.environment import environment


class Finished(Record):
    """What is kept of a stage: how long it took, its command's report, and of the model that it made the sizes and a
    number that stands for its bytes.
    """

    seconds: float
    report: dict[str, Any]
    model: ModelStats | None
    digest: str | None


Result = tuple[Finished, Document]


def content(name: str, settings: RunSettings, source: str, original: str) -> dict[str, Any]:
    """What the result of a stage follows from: not from paths and gates, and from data by what is in it.

    Args:
        name: of the stage.
        settings: its settings.
        source: stands for the bytes of the model that it takes.
        original: the same of the model of the recipe.
    """
    kind = STAGES[stage_kind(name)]
    # The same bytes under another path give the same result.
    paths = {field for field in type(settings).model_fields if isinstance(getattr(settings, field), Path)}
    gates = {gate for gate, of in STAGE_GATES.items() if isinstance(settings, of)}
    # Times hold for one machine; all else does not depend on it.
    timed = kind.measures or any(getattr(settings, field, None) for field in ("target_latency", "latency"))
    return {
        "stage": stage_kind(name),
        "source": source,
        "original": original if kind.compares else None,
        "settings": settings.model_dump(
            mode="json", exclude={*MANAGED, *DATA_SETTINGS, FILES, *paths, *gates, *settings.asides()}
        ),
        "also": [[model_digest(Path(file)), pairs] for file, pairs in map(parse_also, getattr(settings, FILES, ()))],
        "data": [data_identity(text) for text in read_by(settings)],
        "machine": environment().model_dump(mode="json") if timed else None,
    }


RESOLVED_SETTINGS = ("scope", "recover", "samples")
"""Settings of which a run says what they came to."""


def kept_result(name: str, settings: RunSettings, folder: Path, store: Store) -> Result | None:
    """What the stage gave before, or None where it did not finish, or its model was touched."""
    kind, found = STAGES[stage_kind(name)], store.finished(folder, Finished)
    # Somebody may have changed or removed the model since.
    if found is None or (kind.makes_model and not _is(folder / MODEL, found.digest)):
        return None
    # What the run made of a setting that says "auto" is kept; all else may have been said in another way since.
    resolved = {name: value for name, value in found.report.get("settings", {}).items() if name in RESOLVED_SETTINGS}
    report = {**found.report, "settings": {**settings.model_dump(mode="json"), **resolved}}
    try:
        document = kind.report.model_validate(report)
    # Written by a version whose reports had other fields.
    except ValidationError:
        return None
    if isinstance(document, BenchReport) and any(run.noisy for run in document.runs):
        return None  # a gate is not judged by what a busy machine gave another time
    return found.model_copy(update={"report": report}), document


def perform(name: str, task: Task, store: Store, phases: AbstractContextManager[Progress | None]) -> Result:
    """Runs the stage and keeps what it gives.

    Raises:
        CompressorError: as its command; the message names the stage.
    """
    kind = STAGES[stage_kind(name)]
    store.open(task.folder)
    begun = time.perf_counter()
    try:
        with phases as progress:
            document = kind.run(task, progress)
    except CompressorError as error:
        error.args = (f"stage {name!r}: {error}",)
        raise
    # Made last, after the model is in place, as its record is what makes a stage finished.
    finished = Finished(
        seconds=round(time.perf_counter() - begun, 3),
        report=json.loads(document.to_json()),
        model=None if kind.made is None else kind.made(document, task),
        digest=model_digest(task.output) if kind.makes_model else None,
    )
    store.finish(task.folder, finished)
    return finished, document


def _is(model: Path, digest: str | None) -> bool:
    try:
        return model_digest(model) == digest
    except ModelError:
        return False
