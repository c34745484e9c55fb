"""Whether two models give the same: on given data or on seeded inputs, output by output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressor.config.verify import VerifySettings
from compressor.core.arrays import Array, Floats
from compressor.core.clock import Clock, Progress
from compressor.core.compare import ArrayDistance, Tolerance, distance, is_finite
from compressor.data import batches, open_data
from compressor.data.output_units import OutputUnits, farthest
from compressor.errors import ModelError, NothingToProve, ProofFailed, UsageError
from compressor.evaluate import bisect, pair
from compressor.evaluate.pair import Opened, Placed
from compressor.evaluate.stand_in import tell_preparation
from compressor.graph.disk.provenance import changes_outputs, steps_since
from compressor.graph.ir.randomness import may_draw
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.metrics.evaluator import Evaluator, evaluator_for
from compressor.pruning.proofs.outputs.standard import Standard, drawn_outputs
from compressor.results.detail import AccuracyRow
from compressor.results.environment import environment
from compressor.results.verify import Divergence, OutputRow, VerifyReport, VerifyRun
from compressor.runtime.stored import Runs
from compressor.steps.refused_samples import samples_tried

if TYPE_CHECKING:
    from compressor.runtime.sessions import Session


@dataclass(frozen=True)
class InputSet:
    """One set of inputs: where it comes from, the arrays, whether its sizes were made up, and samples of the data."""

    source: str
    inputs: dict[str, Array]
    made_up: bool = False
    samples: int | None = None


@dataclass
class Comparison:
    """The distances found, by output, one for each set of inputs; ``moved`` are the squares behind the norms of its
    parts, and ``left_out`` says why an output cannot be compared."""

    runs: list[VerifyRun] = field(default_factory=list)
    feeds: list[InputSet] = field(default_factory=list)
    outputs: dict[str, list[ArrayDistance]] = field(default_factory=dict)
    units: dict[str, OutputUnits] = field(default_factory=dict)
    moved: dict[str, list[Floats]] = field(default_factory=dict)
    broken: bool = False
    left_out: dict[str, str] = field(default_factory=dict)
    types: dict[str, tuple[str, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Every output of every run is within tolerance."""
        return all(run.passed for run in self.runs)


def verify(a: Path, b: Path, settings: VerifySettings, progress: Progress | None = None) -> VerifyReport:
    """Holds ``b`` against ``a``: differences are found, not raised; see :func:`demand_equal`.

    Raises:
        UsageError: the models' signatures differ, or the data does not fit them.
        ModelError: a model is unsound, or does not run.
        ProviderUnavailable: a provider is missing or did not start.
    """
    from compressor.runtime import sessions

    clock = Clock(progress)
    with clock.phase("load"):
        one = Placed(pair.open_model(a), settings.provider)
        two = Placed(pair.open_model(b), settings.provider_b or settings.provider)
        pair.demand_comparable(one.opened, two.opened)
        if settings.data is not None:
            tell_preparation(open_data(settings, one.opened.model), clock)
    # Differences are data of the report; whether they are an error is for demand_equal.
    with clock.phase("compare"), samples_tried(lambda: one.opened.model, settings):
        comparison = _compare(one, two, settings)
    accuracy = []
    if settings.eval is not None:
        with clock.phase("judge"), samples_tried(lambda: one.opened.model, settings):
            accuracy.append(_judged(one, two, settings))
    made_by = steps_since(two.opened.model, a)
    # Numbers that are none are a fault, whatever was done to the model.
    meant = any(map(changes_outputs, made_by)) and not settings.limited and not comparison.broken
    divergence = None
    if settings.bisect or (settings.bisect is None and not comparison.passed and not meant):
        with clock.phase("bisect"):
            divergence = _divergence(one, two, comparison, settings)
    return VerifyReport(
        a=str(a),
        b=str(b),
        provider_a=sessions.full_name(one.provider),
        provider_b=sessions.full_name(two.provider),
        passed=comparison.passed,
        made_by=made_by,
        meant=meant,
        outputs=_rows(comparison, settings),
        runs=comparison.runs,
        divergence=divergence,
        accuracy=accuracy,
        seconds=clock.seconds,
        warnings=[
            *comparison.warnings,
            *_notes(divergence, comparison),
            *(row.baseless for row in accuracy if row.baseless),
        ],
        settings=settings.model_dump(mode="json"),
        environment=environment(next(filter(None, map(sessions.device_name, (one.provider, two.provider))), None)),
    )


def demand_equal(report: VerifyReport) -> None:
    """Judges what was found.

    Raises:
        ProofFailed: an output is not within tolerance, and is not meant to be another.
        NothingToProve: not one entry was a finite number, so that any two models would agree.
    """
    if report.passed and not any(row.compared for row in report.outputs):
        if all(row.left_out for row in report.outputs):
            raise NothingToProve(f"no output of {report.a} can be compared: {report.outputs[0].left_out}")
        raise NothingToProve(
            f"no output of {report.a} is a finite number on these inputs, so nothing was compared; give others with "
            "--data, or sizes that it is meant for with --dim or --input-shape"
        )
    if report.passed or report.meant:
        return
    worst = max((row for row in report.outputs if not row.passed), key=lambda row: row.max_rel_err)
    at = report.divergence.first if report.divergence is not None else None
    resized = report.divergence.resized if report.divergence is not None else []
    of_these = ", of results of the same sizes," if resized else ""
    where = f"; the first node that differs{of_these} is {at.node!r} ({at.op_type})" if at is not None else ""
    where += f"; {resized[0]!r} has other sizes in B" + (" before it" if at is not None else "") if resized else ""
    raise ProofFailed(
        f"output {worst.name!r} of {report.b} is off by {worst.max_rel_err:.2g} of its range (allowed "
        f"{worst.tolerance:g}){where}; allow more with --rtol or --atol if that is meant"
    )


def _judged(one: Placed, two: Placed, settings: VerifySettings) -> AccuracyRow:
    """The metric of both models, A as the original; raises UsageError where it cannot be measured."""
    original = one.opened.model
    data = None if settings.data is None else open_data(settings, original)
    evaluator = evaluator_for(settings, data)
    assert evaluator is not None
    before, after = (
        replace(evaluator, provider=side.provider).measure(side.opened.model, data, original) for side in (one, two)
    )
    return evaluator.row(before.value, after.value, before.samples, data)


def _compare(one: Placed, two: Placed, settings: VerifySettings) -> Comparison:
    from compressor.runtime import sessions

    comparison = Comparison()
    setup = sessions.Setup(placement=True)
    a, b = (sessions.start_session(side.opened.runs, side.provider, setup) for side in (one, two))
    sessions.demand_active(a, one.provider)
    sessions.demand_active(b, two.provider)
    for feed in _feeds(one.opened, two.opened, settings):
        try:
            expected = _outputs(a, one.opened, feed)
        except ModelError:
            # Sizes that nobody gave need not suit the model; inputs of the user's have to.
            if not feed.made_up:
                raise
            shapes = {name: list(array.shape) for name, array in feed.inputs.items()}
            comparison.warnings.append(
                f"A does not run at the made-up shapes {shapes}; left out (give others with --dim)"
            )
            continue
        try:
            theirs = _outputs(b, two.opened, feed)
        except ModelError as error:
            # B not running where A does is a difference, not a broken model.
            raise ProofFailed(f"{two.opened.path} fails on inputs that {one.opened.path} takes: {error}") from None
        tolerance = Tolerance(settings.rtol, settings.atol)
        again = partial(_outputs, a, one.opened, feed)
        comparison.left_out |= _drawn(one.opened, expected, theirs, again, tolerance)
        _add(comparison, feed, expected, theirs, tolerance)
    if not comparison.runs:
        raise UsageError("nothing was compared: there are no inputs that A runs on; give sizes with --dim, or --data")
    return comparison


def _outputs(session: Session, model: Opened, feed: InputSet) -> dict[str, Array]:
    from compressor.runtime import sessions

    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, sessions.run_session(session, pair.cast(feed.inputs, model)), strict=True))


def _drawn(
    model: Opened,
    expected: dict[str, Array],
    theirs: dict[str, Array],
    again: Callable[[], dict[str, Array]],
    tolerance: Tolerance,
) -> dict[str, str]:
    """Outputs of A that are other ones at each run, with the reason; asked only where the two models differ."""
    first, second = (Runs(list(expected), [{}], [[found[n] for n in expected]]) for found in (expected, theirs))
    if Standard(first, tolerance).met_by(second) or not may_draw(model.model):
        return {}
    found = drawn_outputs(first, lambda: Runs(first.names, first.feeds, [list(again().values())]), tolerance)
    return {first.names[place]: why for place, why in found.items()}


def _add(
    comparison: Comparison, feed: InputSet, one: dict[str, Array], two: dict[str, Array], tolerance: Tolerance
) -> None:
    gaps = {}
    for name, array in one.items():
        comparison.types[name] = (array.dtype.name, two[name].dtype.name)
        # Of what cannot be compared any noise is right, as in a proof.
        left_out = name in comparison.left_out
        other, noise = (array, np.full((), np.inf)) if left_out else (two[name], None)
        gaps[name] = distance(array, other, tolerance, noise)
        comparison.outputs.setdefault(name, []).append(gaps[name])
        units = comparison.units.setdefault(name, OutputUnits.of(array))
        comparison.moved.setdefault(name, []).append(units.squares(array, other))
        comparison.broken |= is_finite(array) and not is_finite(other)
    shapes = {name: list(array.shape) for name, array in feed.inputs.items()}
    comparison.feeds.append(feed)
    comparison.runs.append(
        VerifyRun(
            source=feed.source,
            inputs=shapes,
            samples=feed.samples,
            passed=all(gap.passed for gap in gaps.values()),
        )
    )


def _feeds(one: Opened, two: Opened, settings: VerifySettings) -> Iterator[InputSet]:
    if settings.data is not None:
        yield from _given(one, two, settings)
    else:
        yield from _made_up(one, two, settings)


def _given(one: Opened, two: Opened, settings: VerifySettings) -> Iterator[InputSet]:
    """Batches of the data; whole ones only where a model fixes their size."""
    narrow = next((m for m in (one, two) if batch_limit(m.model) is not None), one)
    data, limit = open_data(settings, narrow.model), batch_limit(narrow.model)
    size = limit or settings.batch_size
    indices = np.arange(min(len(data), settings.samples))
    if limit and len(indices) < limit:
        raise UsageError(f"the model takes {limit} samples at a time, the data has {len(indices)}; give more samples")
    for batch in batches(data, size, order=indices, drop_last=limit is not None):
        yield InputSet("data", batch.inputs, samples=len(batch))


def _made_up(one: Opened, two: Opened, settings: VerifySettings) -> Iterator[InputSet]:
    """Seeded inputs: at two sets of sizes where some are open, and at a batch of one; several trials at the first."""
    fixed = pair.fixed_by(two, one)
    shapes = pair.bind(one, settings, fixed)
    bound = [shapes.inputs]
    if not settings.input_shapes and not settings.dims:
        bound += _other_sizes(one, settings, fixed, shapes.other_inputs)
    # Without open dimensions all sizes are the same.
    bound = [b for k, b in enumerate(bound) if b not in bound[:k]]
    for k, sizes in enumerate(bound):
        for trial in range(settings.trials):
            arrays = pair.seeded(one, shapes, settings.seed + trial, sizes)
            yield InputSet(f"seed {settings.seed + trial}", arrays, made_up=k > 0)


def _other_sizes(
    model: Opened, settings: VerifySettings, fixed: dict[str, int], second: dict[str, tuple[int, ...]]
) -> list[dict[str, tuple[int, ...]]]:
    """A second set of sizes for what stays open, and a batch of one."""
    free = pair.batch_symbols(model, settings) - set(fixed)
    try:
        if fixed:
            # Sizes that the other model fixes were doubled in the second set.
            return [pair.bind(model, settings, {**fixed, **dict.fromkeys(free, 1)}).inputs] if free else []
        return [second, pair.bind(model, settings, dict.fromkeys(free, 1)).inputs] if free else [second]
    except ModelError:
        return []


def _rows(comparison: Comparison, settings: VerifySettings) -> list[OutputRow]:
    rows = [_row(name, comparison) for name in comparison.outputs]
    # What a metric of numbers judges are no scores of classes.
    numbers = Evaluator.of(settings).against_original
    return [row.model_copy(update={"agreement": None}) for row in rows] if numbers else rows


def _row(name: str, comparison: Comparison) -> OutputRow:
    gaps = comparison.outputs[name]
    total = sum(gap.compared for gap in gaps)
    cosines = [gap.cosine for gap in gaps if gap.cosine is not None]
    rows = sum(gap.rows for gap in gaps)
    worst = max(range(len(gaps)), key=lambda k: gaps[k].max_rel)
    # Weighted by what was compared, since runs have different sizes.
    mean = sum(gap.mean_abs * gap.compared for gap in gaps) / total if total else gaps[worst].mean_abs
    return OutputRow(
        name=name,
        type_a=comparison.types[name][0],
        type_b=comparison.types[name][1],
        max_abs_err=max(gap.max_abs for gap in gaps),
        mean_abs_err=mean if all(np.isfinite(gap.mean_abs) for gap in gaps) else float("inf"),
        max_rel_err=gaps[worst].max_rel,
        cosine=min(cosines, default=None),
        agreement=sum(gap.agree or 0 for gap in gaps) / rows if rows else None,
        distance=farthest(np.sum(comparison.moved[name], axis=0)),
        tolerance=max(gap.tolerance for gap in gaps),
        compared=total,
        worst_run=worst,
        passed=all(gap.passed for gap in gaps),
        left_out=comparison.left_out.get(name),
    )


def _divergence(one: Placed, two: Placed, comparison: Comparison, settings: VerifySettings) -> Divergence:
    """Searches with the first inputs that showed a difference, or the first of all."""
    index = next((k for k, run in enumerate(comparison.runs) if not run.passed), 0)
    limits = bisect.BisectLimits(settings.rtol, settings.atol, settings.bisect_memory << 20)
    result = bisect.search(one, two, comparison.feeds[index].inputs, limits)
    return Divergence(
        run=index,
        first=result.first,
        weights=result.weights,
        layers=result.layers,
        shared=result.shared,
        total=result.total,
        sessions=result.sessions,
        resized=result.resized,
    )


def _notes(divergence: Divergence | None, comparison: Comparison) -> list[str]:
    notes = [f"output {name!r} was not compared: {why}" for name, why in comparison.left_out.items()]
    compared = any(gap.compared for gaps in comparison.outputs.values() for gap in gaps)
    if not notes and not compared and comparison.passed:
        notes.append("no result is a finite number, so that nothing was compared")
    if divergence is not None and divergence.first is None and not comparison.passed:
        notes.append(
            "the outputs differ, yet no value with the same name does once values are exposed: a kernel that the "
            "runtime fuses, or a part of B that A lacks, makes the difference"
        )
    return notes
