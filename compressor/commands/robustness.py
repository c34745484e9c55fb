"""Whether compressed models still do what their original does where inputs shift (Lost in Pruning, arXiv 2103.03014).

All models see the same noisy and corrupted inputs, batch by batch; of each sample a few numbers are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np

from compressor.config.robustness import RobustnessSettings
from compressor.core.clock import Clock, Progress
from compressor.core.formatting import printable
from compressor.data import (
    Array,
    Batch,
    Dataset,
    all_labels,
    batch_limit,
    batches,
    check_labels,
    open_data,
    specs,
    subset,
)
from compressor.errors import UsageError
from compressor.evaluate import pair
from compressor.evaluate.pair import Opened
from compressor.evaluate.resemblance import Outputs
from compressor.evaluate.rows import RIGHT, Tally, accuracy_rows, likeness_rows, potential_rows
from compressor.evaluate.shifts import Disturbance, Range, disturbable, image_obstacle, input_statistics, pixels, shifts
from compressor.evaluate.stand_in import stand_in
from compressor.graph import files
from compressor.results.environment import environment
from compressor.results.robustness import InputRow, LeftOut, RobustModel, RobustnessReport
from compressor.steps import account

if TYPE_CHECKING:
    from compressor.runtime.sessions import Session


@dataclass(frozen=True)
class RobustnessSamples:
    """What all models are run on.

    Attributes:
        dataset: the samples drawn, and no others.
        size: samples in a run.
        fixed: the models take no other number.
        source: where they come from, in words.
        labels: shape of the labels of one sample, where they are classes.
    """

    dataset: Dataset
    size: int
    fixed: bool
    source: str
    labels: tuple[int, ...] | None

    def __len__(self) -> int:
        """Samples that fill runs."""
        return len(self.dataset) // self.size * self.size if self.fixed else len(self.dataset)

    def batches(self) -> Iterator[Batch]:
        """In the same order each time."""
        return batches(self.dataset, self.size, drop_last=self.fixed)


@dataclass(frozen=True)
class Place:
    """Which run results are of: the number of the shift, of the first sample, and the labels of the samples."""

    shift: int
    start: int
    labels: Array | None


@dataclass
class Notes:
    """What the reader has to know besides the numbers."""

    left_out: list[LeftOut] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def leave_out(self, what: str, reason: str) -> None:
        """Adds one thing that is not measured."""
        self.left_out.append(LeftOut(what=what, reason=reason))


def robustness(
    a: Path, others: Sequence[Path], settings: RobustnessSettings, progress: Progress | None = None
) -> RobustnessReport:
    """Holds the compressed models ``others`` against their original ``a``.

    Raises:
        UsageError: signatures differ, or the data does not fit the models.
        ModelError: a model is unsound, or does not run.
        ProviderUnavailable: the provider is missing or did not start.
    """
    from compressor.runtime import sessions

    clock, notes = Clock(progress), Notes()
    with clock.phase("load"):
        models = [pair.open_model(path) for path in (a, *others)]
        for other in models[1:]:
            pair.demand_same_signature(models[0], other)
        rows = _models(models, settings)
        samples = _samples(models, settings, notes)
    with clock.phase("survey"):
        ranges = input_statistics((batch.inputs for batch in samples.batches()), specs(models[0].model))
        disturbance = _disturbance(models[0], ranges, settings, notes)
        plan, reasons = shifts(settings, disturbance)
        for name, reason in reasons.items():
            notes.leave_out(name, reason)
    with clock.phase("run"):
        tally = Tally(plan, len(samples))
        outputs = _run(models, samples, disturbance, tally, (settings.provider, clock))
    for name, reason in outputs.left_out.items():
        notes.leave_out(f"output {printable(name)!r}", reason)
    _demand_something(tally, outputs, samples, notes)
    with clock.phase("resample"):
        labels = [row.label for row in rows]
        likeness = likeness_rows(tally, labels, settings.confidence, settings.seed)
        scored = bool(outputs.scored)
        accuracy = accuracy_rows(tally, labels, settings.confidence, settings.seed) if scored else []
    return RobustnessReport(
        models=rows,
        inputs=[_input_row(name, disturbance) for name in ranges],
        source=samples.source,
        samples=len(samples),
        draws=settings.draws,
        confidence=settings.confidence,
        margin=settings.margin,
        compression=settings.compression,
        likeness=likeness,
        accuracy=accuracy,
        potential=potential_rows(accuracy, {row.label: row.saved for row in rows[1:]}, settings.margin),
        left_out=notes.left_out,
        seconds=clock.seconds,
        warnings=notes.warnings,
        settings=settings.model_dump(mode="json"),
        environment=environment(sessions.device_name(settings.provider)),
    )


def _demand_something(tally: Tally, outputs: Outputs, samples: RobustnessSamples, notes: Notes) -> None:
    """Raises UsageError where no output can be compared; notes labels that no output has scores for."""
    if not tally.outputs:
        reasons = "; ".join(f"{printable(name)}: {reason}" for name, reason in outputs.left_out.items())
        raise UsageError(f"no output can be compared ({reasons}); robustness needs one with a row for each sample")
    if samples.labels is not None and not outputs.scored:
        notes.leave_out("accuracy", "no output holds a score of each class for each label")


def _models(models: Sequence[Opened], settings: RobustnessSettings) -> list[RobustModel]:
    rows: list[RobustModel] = []
    for number, opened in enumerate(models):
        found = account.stats_in_memory(opened.model, settings, files.size_on_disk(opened.path))
        stats = found.model_copy(update={"path": str(opened.path)})
        # The first row is the original, which saves nothing.
        whole = getattr((rows[0].stats if rows else stats), settings.compression)
        saved = 1 - getattr(stats, settings.compression) / whole if whole else 0.0
        # A to Z, then AA, BB: letters stay short for as many models as anybody compares.
        label = ascii_uppercase[number % 26] * (number // 26 + 1)
        rows.append(RobustModel(label=label, stats=stats, saved=saved))
    return rows


def _samples(models: Sequence[Opened], settings: RobustnessSettings, notes: Notes) -> RobustnessSamples:
    """The samples drawn from the data, or made up; whole batches where a model fixes their size."""
    # One model with a fixed batch decides for all, as they see the same inputs.
    limits = {limit: m for m in models if (limit := batch_limit(m.model)) is not None}
    if len(limits) > 1:
        (one, first), (two, second) = list(limits.items())[:2]
        raise UsageError(f"{first.path} takes {one} samples at a time and {second.path} takes {two}; export both alike")
    limit, narrow = next(iter(limits.items()), (None, models[0]))
    if settings.data is None:
        dataset: Dataset = stand_in(narrow.model, settings, settings.samples)
        notes.leave_out("accuracy", "it needs --data with labels")
        if settings.kinds:
            notes.leave_out("corruptions of images", "they need --data; made-up inputs are no pictures")
        source, labels = "random inputs", None
    else:
        # Data that is normalised already must not be normalised again; mean and std then only say what black is.
        plain = settings.model_copy(update={"mean": (), "std": ()}) if settings.normalised else settings
        dataset = subset(open_data(plain, narrow.model), settings.samples, settings.seed)
        source, labels = settings.data, _class_labels(dataset, models[0], notes)
    if limit and len(dataset) < limit:
        raise UsageError(f"the model takes {limit} samples at a time, there are {len(dataset)}; give more samples")
    return RobustnessSamples(dataset, limit or settings.batch_size, limit is not None, source, labels)


def _class_labels(dataset: Dataset, model: Opened, notes: Notes) -> tuple[int, ...] | None:
    """Shape of one sample's labels where they are classes; UsageError where they are not those of the model."""
    labels = all_labels(dataset)
    if labels is None:
        notes.leave_out("accuracy", "the data has no labels")
        return None
    if labels.dtype.kind not in "biu":
        notes.leave_out("accuracy", f"labels are {labels.dtype}, not numbers of classes")
        return None
    check_labels(dataset, model.model)
    return labels.shape[1:]


def _disturbance(model: Opened, ranges: Mapping[str, Range], settings: RobustnessSettings, notes: Notes) -> Disturbance:
    """Which inputs get noise, and which are corrupted as images; what is not is noted."""
    found = {spec.name: spec for spec in specs(model.model)}
    unknown = [name for name in settings.disturb if name not in ranges]
    if unknown:
        may = ", ".join(map(printable, ranges)) or "none"
        raise UsageError(f"--disturb {printable(unknown[0])}: no such input takes noise; those that do: {may}")
    chosen = {name: seen for name, seen in ranges.items() if name in (settings.disturb or ranges)}
    for name, spec in found.items():
        if name not in chosen:
            why = "it was not named by --disturb" if disturbable(spec) else f"it takes {spec.wanted}"
            notes.leave_out(f"noise on {spec.quoted}", why)
        # Noise is a share of the deviation, which is none here.
        elif not chosen[name].deviation:
            notes.leave_out(f"noise on {spec.quoted}", "all its numbers are equal")
    known = {}
    for name, seen in chosen.items() if settings.data is not None and settings.kinds else ():
        reason = image_obstacle(found[name], seen)
        if reason:
            notes.leave_out(f"corruptions of {found[name].quoted}", reason)
            continue
        known[name] = pixels(found[name], seen, settings)
        if known[name].guessed:
            notes.warnings.append(
                f"what is black and white in {found[name].quoted} is not known: {known[name].origin}; say --mean and "
                "--std, and --normalised if the data is already"
            )
    return Disturbance({name: seen.deviation for name, seen in chosen.items()}, known, settings.seed)


def _run(
    models: Sequence[Opened],
    samples: RobustnessSamples,
    disturbance: Disturbance,
    tally: Tally,
    told: tuple[str, Clock],
) -> Outputs:
    """Every batch under every shift through every model, on the provider told; fills ``tally``."""
    from compressor.runtime import sessions

    provider, clock = told
    opened = [(sessions.start_session(model.path, provider, sessions.Setup(placement=True)), model) for model in models]
    for session, _ in opened:
        sessions.demand_active(session, provider)
    outputs, start = Outputs(samples.labels), 0
    for batch in samples.batches():
        clock.tell(f"run: samples {start + 1} to {start + len(batch)} of {len(samples)}")
        # Models inside shifts and shifts inside batches: every model sees the same draw, and one batch is held at a
        # time.
        for number, shift in enumerate(tally.plan):
            for draw in range(shift.draws):
                inputs = disturbance(batch.inputs, shift, draw, start)
                results = [_results(session, model, inputs) for session, model in opened]
                # The first run is of clean inputs, by which outputs are told apart.
                if not (start or number or draw):
                    outputs.decide(results[0], len(batch))
                _record(tally, outputs, results, Place(number, start, batch.labels))
        start += len(batch)
    return outputs


def _results(session: Session, model: Opened, inputs: Mapping[str, Array]) -> dict[str, Array]:
    from compressor.runtime import sessions

    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, sessions.run_session(session, pair.cast(dict(inputs), model)), strict=True))


def _record(tally: Tally, outputs: Outputs, results: Sequence[Mapping[str, Array]], place: Place) -> None:
    """Compares the outputs of one run of all models, and holds them against the labels."""
    for model, found in enumerate(results):
        if outputs.scored:
            tally.add((model, "", RIGHT), place.shift, place.start, outputs.right(found, np.asarray(place.labels)))
        for name in [name for name in found if model and name not in outputs.left_out]:
            measures = outputs.compare(name, results[0][name], found[name])
            for kind, values in measures.items():
                tally.add((model, name, kind), place.shift, place.start, values)
            if not measures:
                # Shapes that differ in one batch make all numbers of this output worthless.
                tally.drop(name)


def _input_row(name: str, disturbance: Disturbance) -> InputRow:
    known = disturbance.pixels.get(name)
    return InputRow(
        name=name,
        deviation=disturbance.deviations.get(name),
        pixels=None if known is None else known.origin,
    )
