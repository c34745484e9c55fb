"""What ``--recover auto`` comes to: the best recovery that the model and what was given with it allow, in seconds.

Least squares from as many samples as the widest layer needs rows, or fewer where the model is large; a short
distillation afterwards, where torch is installed, the model is small and samples are made up or some hundreds. In a
large model every group loses the same share, as losses take longer than the fit; where even that would take minutes or
more memory than there is, or no layer is one that recovery rebuilds, it is the bare cut. What is chosen, and how to ask
for more, goes into the report.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import prod

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.extras import TRAINING_PACKAGES
from compressor.core.formatting import there_are
from compressor.core.machine import cores, free_memory
from compressor.data.synthetic import Synthetic
from compressor.data.synthetic.dataset import REMEMBERED
from compressor.data.synthetic.sizes import sample_shapes
from compressor.errors import ModelError, UsageError
from compressor.graph.ir.nodes import mostly_codes
from compressor.graph.sizes.shapes import Shapes
from compressor.pruning.budgets.cost import LEAST_SAMPLES, PASS_MACS, macs_per_sample
from compressor.pruning.cut.analysis import Analysis
from compressor.results import Report
from compressor.steps.prune.effort import Effort, RecoveryWork
from compressor.steps.prune.losses import follows_losses
from compressor.steps.run_samples import RunSamples

SECONDS = 60.0
"""Longest recovery that is begun without being asked for."""
MOST_FITTED = 1024
"""Samples that are read of their own accord, at most: where the widest layer needs rows and the model is small."""
ENOUGH = 192
"""Samples of the user's from which a short distillation brings something: of 256 a quarter is set aside."""
MADE_UP = 512
"""Samples that are made up of their own accord, at least; they cost nobody anything."""
FEWER_FROM, FEWEST_MADE_UP = 64, 64
"""Rows that a made-up sample gives every layer, from which on fewer samples are enough; and how few at least: a network
whose every layer sees hundreds of positions of an image learns from 64 what it learns from 512."""
HELD = 8e9
"""Bytes of what all layers compute on all samples, at most, where nobody said how many samples: more tell
little, and values that wait for later layers would go to the disk."""
DISTILLED = 4 * 64 * 32
"""Forward passes of the original that take as long as the shortest distillation (:mod:`compressor.train.brief`)."""
SMALL_MACHINE = 8e9
"""Bytes of memory that are taken to be free where the system does not say."""
ROOM = 0.8
"""Share of the free memory that may be filled; the rest is left to what else runs."""
TRAINED_A_SECOND = 20e9
"""Floating-point operations that a core does in a second of training, about."""
SHARPENING = 600e9
"""Multiply-accumulates that may go into changing made-up samples."""
NO_LAYER_TO_FIT = (
    "nothing was recovered: the model has no linear or recurrent layer with weights of its own that "
    "recovery could rebuild; train it with --recover finetune, or say --recover none"
)
QUANTISED = (
    "nothing was recovered: the weights of this file are quantised in a form that recovery cannot rebuild, and a bare "
    "cut loses most of what a network has learned; prune the float original and quantise the result (onnx-compress "
    "quantize)"
)
REBUILT_AS_INTEGERS = (
    "weights of this file are integers, which least squares rebuilds and rounds, and which cannot be trained; the "
    "float original, pruned first and quantised last, keeps more"
)
TOO_MUCH = (
    "nothing was recovered: that would take about {cost}; ask for it with --recover lstsq (--samples {samples} makes "
    "it shorter), or train with --recover finetune"
)
SHARED = (
    "widths follow no measured losses, as the model is large; with --scope loss more goes where outputs lose least, "
    "which takes about {cost}"
)
FEWER = (
    "recovered from {samples} samples, as the model is large; more of them, with --samples {more}, recover more and "
    "take about {cost}"
)
TOO_FEW = (
    "weights were not trained after least squares, as there {given} to learn from: from {enough} on a "
    "short training recovers more"
)
HEAVIER = 0.1
"""Share by which more may be left of a file than of its multiply-accumulates before that is reported."""
HEAVY = (
    "channels went where they cost multiply-accumulates: {macs:.2f} of these are left, and {size:.2f} of the file; "
    "--target-size spends the budget on bytes"
)
RESIZED = "nothing was recovered: inputs or outputs have other sizes, so that the models do not run on the same data"
UNPACKED = (
    "weights of this file were packed and are plain numbers now, since channels of codes cannot be cut; prune first, "
    "and pack afterwards with unify"
)
NO_SAMPLES = "nothing was recovered: {reason}; give --data, or say --recover none"


def resolve_defaults(
    settings: PruneSettings, analysis: Analysis, *, available: int | None
) -> tuple[PruneSettings, list[str]]:
    """The settings with a recovery by name and a number of samples, and what the report has to say.

    Args:
        settings: as they were given.
        analysis: the analysed model.
        available: samples that the user has; None where they are made up.
    """
    if settings.recover != "auto":
        return settings, []
    # No output changes, so there is nothing to recover.
    if settings.lossless:
        return settings.resolved(recover="none"), []
    if _nothing_goes(settings):
        # Channels that nobody takes need no ranking by losses either.
        return settings.resolved(recover="none", scope="local" if settings.scope == "auto" else settings.scope), []
    work = RecoveryWork.of(
        analysis.model, analysis.shapes if available is not None else _of_samples(settings, analysis)
    )
    if not work.layers:
        why = QUANTISED if mostly_codes(analysis.model.graph) else NO_LAYER_TO_FIT
        return settings.resolved(recover="none"), [why]
    found = _affordable(settings, work, _samples_wanted(settings, work, available))
    if found.seconds > SECONDS or found.memory > _memory():
        return settings.resolved(recover="none"), [_too_much(found)]
    whole = mostly_codes(analysis.model.graph)
    trains, notes = (False, [REBUILT_AS_INTEGERS]) if whole else _trains(work, available)
    recover = "distill" if trains else "lstsq"
    return settings.resolved(recover=recover, samples=found.samples, scope=found.scope), [*found.notes, *notes]


@dataclass(frozen=True)
class _Affordable:
    """A recovery in closed form that takes as little as the settings allow, and what it takes.

    Attributes:
        samples: that it reads.
        scope: how channels are allocated: evenly, where losses would take longest.
        seconds: of work.
        memory: bytes.
        notes: what the report has to say of what was left out.
    """

    samples: int
    scope: str
    seconds: float
    memory: float
    notes: tuple[str, ...]


def _affordable(settings: PruneSettings, work: RecoveryWork, wanted: int) -> _Affordable:
    """The recovery from as many of the ``wanted`` samples as end in seconds."""
    asked = settings.given("samples")
    # Whoever asked for losses by name takes the time that they need.
    losses, scope, notes = settings.scope == "auto" and follows_losses(settings, samples=True), settings.scope, []
    count, effort = _within_seconds(work, wanted, losses=losses, asked=asked)
    # Widths that follow the losses are the dearer half, and what they spare is less than what least squares does.
    if effort.seconds > SECONDS and losses:
        notes.append(SHARED.format(cost=_minutes(effort.seconds)))
        scope, losses = "local", False
        count, effort = _within_seconds(work, wanted, losses=losses, asked=asked)
    if count < (more := min(wanted, settings.samples)):
        notes.append(FEWER.format(samples=count, more=more, cost=_minutes(work.effort(more, losses=losses).seconds)))
    return _Affordable(count, scope, effort.seconds, effort.memory, tuple(notes))


def _samples_wanted(settings: PruneSettings, work: RecoveryWork, available: int | None) -> int:
    """How many samples a recovery reads where time does not matter: least squares is no better than its rows."""
    # A number that the user gave is kept; only the default is changed.
    asked = settings.given("samples")
    least = settings.samples if asked or available is not None else _made_up_at_least(work, settings)
    # The widest layer says how many are needed.
    wanted = least if asked else max(least, min(MOST_FITTED, work.samples))
    return wanted if available is None else min(wanted, available)


def _too_much(found: _Affordable) -> str:
    """Why nothing is recovered: nobody asked for it, so a long one or a full memory would come as a surprise."""
    cost = _minutes(found.seconds) if found.seconds > SECONDS else f"{found.memory / 1e9:.0f} GB"
    # As many as take the time that is begun without being asked for, or few of those that fill the memory.
    less = max(1, min(found.samples // 4, int(found.samples * SECONDS / max(found.seconds, SECONDS))))
    return TOO_MUCH.format(cost=cost, samples=less)


def _trains(work: RecoveryWork, available: int | None) -> tuple[bool, list[str]]:
    """Does a short training follow, and what the report has to say where only samples are missing for it."""
    seconds = 2.0 * work.macs * DISTILLED / TRAINED_A_SECOND / cores()
    if not all(find_spec(name) for name in TRAINING_PACKAGES) or seconds > SECONDS:
        return False, []
    # A handful of the user's own samples would be learnt by heart (docs/recovery.md has what 256 bring).
    if available is not None and available < ENOUGH:
        return False, [TOO_FEW.format(given=there_are(available, "sample"), enough=ENOUGH)]
    return True, []


def _made_up_at_least(work: RecoveryWork, settings: PruneSettings) -> int:
    """Samples that are made up where the widest layer needs no more."""
    return int(max(FEWEST_MADE_UP, max(settings.samples, MADE_UP) / max(1.0, work.positions / FEWER_FROM)))


def _nothing_goes(settings: PruneSettings) -> bool:
    """Does the amount that was asked for leave every channel where it is?"""
    whole = settings.target_macs == 1 or settings.target_params == 1
    return (settings.ratio == 0 or whole) and not settings.layer_ratio and not settings.depth


def _of_samples(settings: PruneSettings, analysis: Analysis) -> Shapes:
    """Shapes of made-up samples, which are larger than those of the proof where the model leaves sizes open."""
    sizes = [dim for value in analysis.model.graph.inputs for dim in list(value.shape or ())[1:]]
    if all(isinstance(dim, int) for dim in sizes):
        return analysis.shapes
    try:
        return sample_shapes(analysis.model, settings.input_shapes, settings.dims)
    except (ModelError, UsageError):
        return analysis.shapes  # whoever makes the samples up will say why not


def _within_seconds(work: RecoveryWork, wanted: int, *, losses: bool, asked: bool) -> tuple[int, Effort]:
    """As many samples as end in seconds, of those that are wanted, and what they take; all that were asked for."""
    # Bounds on time and on what waits in the cache between stages.
    most = min(PASS_MACS / max(work.macs, 1.0), HELD / max(work.held, 1.0))
    count = wanted if asked else max(min(LEAST_SAMPLES, wanted), min(wanted, int(most)))
    effort = work.effort(count, losses=losses)
    # Half as many until it fits: the solutions of the systems cost the same however few samples there are.
    while not asked and effort.seconds > SECONDS and count > LEAST_SAMPLES:
        count = max(LEAST_SAMPLES, count // 2)
        effort = work.effort(count, losses=losses)
    return count, effort


def _memory() -> float:
    """Bytes of memory that may be filled."""
    free = free_memory()
    return ROOM * (SMALL_MACHINE if free is None else free)


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} minutes" if seconds > 90 else "a minute"


def with_resizing(settings: PruneSettings) -> tuple[PruneSettings, list[str]]:
    """The settings of a run whose inputs or outputs may shrink, and what the report has to say.

    Nothing then runs both models side by side on the same data; asking for that is a contradiction.
    """
    if not settings.resizes:
        return settings, []
    # Nothing is missing where nothing was to be recovered.
    notes = [] if settings.recover == "none" else [RESIZED]
    return settings.resolved(recover="none", scope="local" if settings.scope == "auto" else settings.scope), notes


def made_up(
    settings: PruneSettings, source: ir.Model, analysis: Analysis, *, asked: bool
) -> tuple[RunSamples | None, list[str]]:
    """Samples for a run without data, None where it needs none; and why there are none where it would.

    Args:
        settings: of the run, nothing left open.
        source: the model.
        analysis: the analysed model.
        asked: somebody asked for the recovery.

    Raises:
        UsageError: no samples fit the model, and they were asked for.
    """
    try:
        samples = RunSamples.of(settings, source)
    except (UsageError, ModelError) as error:
        judged = any(limit is not None for limit in (settings.max_drop, settings.max_distance, settings.eval))
        if asked or judged or settings.trainability or settings.scope == "loss":
            raise
        return None, [NO_SAMPLES.format(reason=error)]
    if samples is None:
        return None, []
    # Samples of whose class the model is sure tell more of what its late layers do (docs/recovery.md).
    if isinstance(samples.train, Synthetic):
        train = _sharpened(samples.train, analysis)
        # What a short training learns from samples as they were drawn is worth less than what it unlearns by them.
        if settings.recover == "distill" and train.sharpened:
            train = replace(train, count=max(settings.samples, len(train.sharpened)))
        samples = replace(samples, train=train)
    return replace(samples, asked=asked), []


def _sharpened(samples: Synthetic, analysis: Analysis) -> Synthetic:
    """The samples, as many as take seconds moved to where a classifier is sure of them, if torch is there to do it."""
    # Looked for without importing it, which takes seconds.
    if find_spec("torch") is None:
        return samples
    from compressor.train.gradients.sharpening import SHARPENING_PASSES, sharpened

    macs = float(SHARPENING_PASSES * macs_per_sample(analysis.model.graph, analysis.shapes))
    for kind in samples.kinds:  # of sizes that the model leaves open, samples may have larger ones
        bound = analysis.shapes.inputs.get(kind.name, (1, *kind.shape))[1:]
        macs *= max(1.0, prod(kind.shape) / max(prod(bound), 1)) if kind.pixels else 1.0
    # They stay in memory.
    size = sum(prod(kind.shape) * kind.dtype.itemsize for kind in samples.kinds)
    try:
        return sharpened(analysis.model, samples, int(min(SHARPENING / max(macs, 1.0), REMEMBERED / max(size, 1))))
    except (ModelError, RuntimeError):
        return samples  # as they were drawn; what torch cannot run is no fault of the samples


def size_lags_macs(report: Report) -> list[str]:
    """A note where channels went for their multiply-accumulates, and the file shrank by much less."""
    after, before = report.output, report.input
    settings = report.done
    if after is None or settings.get("scope") != "loss" or not before.macs or not before.bytes:
        return []
    # Other targets count bytes or parameters themselves, or milliseconds.
    if settings.get("target_macs") is None and settings.get("ratio") is None:
        return []
    macs, size = after.macs / before.macs, after.bytes / before.bytes
    if size < macs + HEAVIER:
        return []
    return [HEAVY.format(macs=macs, size=size)]
