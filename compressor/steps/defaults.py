"""What ``--recover auto`` comes to: the best recovery that the model and what was given with it allow, in seconds.

Least squares from as many samples as the widest layer needs rows, or fewer where the model is large; on made-up samples
a short distillation afterwards, where torch is installed and the model is small; the bare cut where even least squares
would take minutes or more memory than there is, or where no layer is one that recovery rebuilds. What is chosen, and
how to ask for more, goes into the report.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import ceil, prod

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.extras import TRAINING
from compressor.core.machine import cores
from compressor.data.synthetic import Synthetic
from compressor.errors import ModelError, UsageError
from compressor.graph.shapes import Shapes
from compressor.operators.table import RULES, operator_of
from compressor.pruning.analysis import Analysis
from compressor.pruning.cost import LEAST_SAMPLES, PASS_MACS, macs_per_sample
from compressor.results import Report
from compressor.steps.recover import RunSamples

SPEED = 20e9
"""Floating-point operations that a core does in a second, about."""
SECONDS = 60.0
"""Longest recovery that is begun without being asked for."""
MOST = 1024
"""Samples that are read of their own accord, at most: where the widest layer needs rows and the model is small."""
MADE_UP = 512
"""Samples that are made up of their own accord, at least; they cost nobody anything."""
HELD = 8e9
"""Bytes of what all layers compute on all samples, at most, where nobody said how many samples: more tell
little, and values that wait for later layers would go to the disk."""
DISTILLED = 4 * 64 * 32
"""Forward passes of the original that take as long as the shortest distillation (:mod:`compressor.train.brief`)."""
SHARPENING = 600e9
"""Multiply-accumulates that may go into changing made-up samples."""
ROWS = 8
"""Rows that least squares draws for each unknown (:class:`compressor.reconstruct.ReconstructOptions`)."""

NO_LAYER = (
    "nothing was recovered: the model has no linear layer with weights of its own, which no caller may replace, that "
    "recovery could rebuild; train it with --recover finetune, or say --recover none"
)
REPLACEABLE = (
    "nothing was recovered: the weights, such as {name!r}, are inputs of the model too, as older exporters wrote them, "
    "so that whoever runs it may replace them; export it with keep_initializers_as_inputs=False, or take them off the "
    "inputs, and they are rebuilt; or say --recover none"
)
TOO_MUCH = (
    "nothing was recovered: that would take about {cost}; ask for it with --recover lstsq (--samples {samples} makes "
    "it shorter), or train with --recover finetune"
)
FEWER = (
    "recovered from {samples} samples, as the model is large; more of them, with --samples {more}, recover more and "
    "take about {cost}"
)


HEAVIER = 0.1
"""Share by which more may be left of a file than of its multiply-accumulates before that is told."""
HEAVY = (
    "channels went where they cost multiply-accumulates: {macs:.2f} of these are left, and {size:.2f} of the file; "
    "--target-size spends the budget on bytes"
)
RESIZED = "nothing was recovered: inputs or outputs have other sizes, so that the models do not run on the same data"
NO_SAMPLES = "nothing was recovered: {reason}; give --data, or say --recover none"


@dataclass(frozen=True)
class _Layer:
    """A linear layer: unknowns of one output, matrices, and rows of one sample."""

    unknowns: int
    groups: int
    rows: float


@dataclass(frozen=True)
class Effort:
    """What least squares takes.

    Attributes:
        seconds: on the cores of this machine, about.
        memory: bytes, about.
    """

    seconds: float
    memory: float


def resolve_defaults(
    settings: PruneSettings, found: Analysis, *, available: int | None
) -> tuple[PruneSettings, list[str]]:
    """The settings with a recovery by name and a number of samples, and what the report has to say.

    Args:
        settings: as they were given.
        found: the analysed model.
        available: samples that the user has; None where they are made up.
    """
    if settings.recover != "auto":
        return settings, []
    # No output changes, so there is nothing to recover.
    if settings.lossless:
        return settings.model_copy(update={"recover": "none"}), []
    layers = _layers(found.model, found.shapes)
    if not layers:
        return _with(settings, recover="none"), [_no_layer(found.model)]
    macs = macs_per_sample(found.model.graph, found.shapes, RULES)
    # A number that the user gave is kept; only the default is lowered.
    asked = "samples" in settings.model_fields_set
    least = settings.samples if asked or available is not None else max(settings.samples, MADE_UP)
    # Least squares is no better than its rows: the widest layer says how many samples are needed.
    wanted = least if asked else max(least, min(MOST, _needed(layers)))
    wanted = min(wanted, available) if available is not None else wanted
    # Bounds on time and on what waits in the cache between stages.
    most = min(PASS_MACS / max(macs, 1.0), HELD / max(_held(found.model, found.shapes), 1.0))
    count = wanted if asked else max(min(LEAST_SAMPLES, wanted), min(wanted, int(most)))
    effort = _effort(found.model, layers, macs, count)
    # Half as many until it fits: the solutions of the systems cost the same however few samples there are.
    while not asked and effort.seconds > SECONDS and count > LEAST_SAMPLES:
        count = max(LEAST_SAMPLES, count // 2)
        effort = _effort(found.model, layers, macs, count)
    # Nobody asked for a recovery by name, so a long one or a full memory would come as a surprise.
    if effort.seconds > SECONDS or effort.memory > _memory():
        cost = f"{effort.seconds / 60:.0f} minutes" if effort.seconds > SECONDS else f"{effort.memory / 1e9:.0f} GB"
        # As many as take the time that is begun without being asked for, or few of those that fill the memory.
        less = max(1, min(count // 4, int(count * SECONDS / max(effort.seconds, SECONDS))))
        return _with(settings, recover="none"), [TOO_MUCH.format(cost=cost, samples=less)]
    notes = []
    if count < min(wanted, settings.samples):
        more = _effort(found.model, layers, macs, min(wanted, settings.samples))
        cost = f"{max(1, round(more.seconds / 60))} min"
        notes.append(FEWER.format(samples=count, more=min(wanted, settings.samples), cost=cost))
    # On the user's own samples, mostly few hundred, training brought nothing beyond least squares (docs/recovery.md).
    trained = available is None and all(find_spec(name) for name in TRAINING)
    trained = trained and 2.0 * macs * DISTILLED / SPEED / cores() <= SECONDS
    return _with(settings, recover="distill" if trained else "lstsq", samples=count), notes


def resized(settings: PruneSettings, notes: list[str]) -> PruneSettings:
    """The settings of a run whose inputs or outputs may shrink: nothing runs both models side by side on the same data.

    Raises:
        UsageError: something that does was asked for.
    """
    if not settings.resizes:
        return settings
    given = settings.model_fields_set
    asked = [f"--recover {settings.recover}"] if "recover" in given and settings.recover not in ("auto", "none") else []
    asked += ["--scope loss"] if settings.scope == "loss" else []
    asked += [f"--{name.replace('_', '-')}" for name in ("data", "val_data", "max_drop", "robustness", "trainability")
              if getattr(settings, name)]  # fmt: skip
    if asked:
        flags = {"--cache-heads": settings.cache_heads, "--free-output": settings.free_outputs}
        what = next((flag for flag, is_so in flags.items() if is_so), "--keep-tokens")
        raise UsageError(f"{asked[0]} compares models on the same inputs and outputs; leave it out, or {what}")
    notes[:] = [RESIZED]
    return _with(settings, recover="none", scope="local" if settings.scope == "auto" else settings.scope)


def made_up(
    settings: PruneSettings, source: ir.Model, found: Analysis, notes: list[str], *, asked: bool
) -> RunSamples | None:
    """Samples for a run without data; None where it needs none.

    Args:
        settings: of the run, settled.
        source: the model.
        found: the analysed model.
        notes: takes up why there are none, where nobody asked for what they are for.
        asked: somebody asked for the recovery.

    Raises:
        UsageError: no samples fit the model, and they were asked for.
    """
    try:
        samples = RunSamples.of(settings, source)
    except (UsageError, ModelError) as error:
        judged = settings.max_drop is not None or settings.eval is not None
        if asked or judged or settings.trainability or settings.scope == "loss":
            raise
        notes.append(NO_SAMPLES.format(reason=error))
        return None
    if samples is None:
        return None
    # Samples of whose class the model is sure tell more of what its late layers do (docs/recovery.md).
    if isinstance(samples.train, Synthetic):
        samples = replace(samples, train=_sharpened(samples.train, found))
    return replace(samples, asked=asked)


def _sharpened(samples: Synthetic, found: Analysis) -> Synthetic:
    """The samples, as many as take seconds moved to where a classifier is sure of them, if torch is there to do it."""
    # Looked for without importing it, which takes seconds.
    if find_spec("torch") is None:
        return samples
    from compressor.train.gradients.sharpening import PASSES, sharpened

    macs = float(PASSES * macs_per_sample(found.model.graph, found.shapes, RULES))
    for kind in samples.kinds:  # of sizes that the model leaves open, samples may have larger ones
        bound = found.shapes.inputs.get(kind.name, (1, *kind.shape))[1:]
        macs *= max(1.0, prod(kind.shape) / max(prod(bound), 1)) if kind.pixels else 1.0
    try:
        return sharpened(found.model, samples, int(SHARPENING / max(macs, 1.0)))
    except (ModelError, RuntimeError):
        return samples  # as they were drawn; what torch cannot run is no fault of the samples


def heavier(report: Report) -> list[str]:
    """A note where channels went for their multiply-accumulates, and the file shrank by much less."""
    after, before = report.output, report.input
    asked = report.settings
    if after is None or asked.get("scope") != "loss" or not before.macs or not before.bytes:
        return []
    # Other targets count bytes or parameters themselves, or milliseconds.
    if asked.get("target_macs") is None and asked.get("ratio") is None:
        return []
    macs, size = after.macs / before.macs, after.bytes / before.bytes
    if size < macs + HEAVIER:
        return []
    return [HEAVY.format(macs=macs, size=size)]


def _with(settings: PruneSettings, **changes: object) -> PruneSettings:
    """A copy in which what the user gave is still told from defaults."""
    given = settings.model_fields_set
    copy = settings.model_copy(update=changes)
    # model_copy counts what it updates as given by the user, and later defaults depend on what was given.
    copy.__pydantic_fields_set__ = set(given)
    return copy


def _layers(model: ir.Model, shapes: Shapes) -> list[_Layer]:
    """The linear layers that recovery rebuilds, at the bound shapes."""
    from compressor.reconstruct.form import Unrepairable
    from compressor.reconstruct.layers import repairable_layers

    values = {str(v.name) for v in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs))}
    found = []
    for layer in repairable_layers(model, model, values)[0]:
        x, y = shapes(layer.node.inputs[1 - layer.held]), shapes(layer.node.outputs[0])  # type: ignore[arg-type]
        if x is None or y is None or not operator_of(layer.node).linear:
            continue
        weight = layer.weight.read()
        try:
            form = layer.form((x, weight.shape, y))
            groups, _, unknowns = form.sizes
        except Unrepairable:
            continue  # recovery leaves it alone, and says why
        found.append(_Layer(unknowns, groups, form.count(y) / max(shapes.batch, 1)))
    return found


def _no_layer(model: ir.Model) -> str:
    """Why nothing is recovered."""
    weights = [value for value in model.graph.initializers.values() if value.shape is not None and len(value.shape) > 1]
    replaceable = [str(value.name) for value in weights if value.is_graph_input()]
    return REPLACEABLE.format(name=replaceable[0]) if replaceable else NO_LAYER


def _held(model: ir.Model, shapes: Shapes) -> float:
    """Bytes of what layers compute on one sample, as float32."""
    made = (shapes(value) for node in model.graph for value in node.outputs)
    return 4.0 * sum(prod(shape) for shape in made if shape is not None) / max(shapes.batch, 1)


def _needed(layers: list[_Layer]) -> int:
    """Samples that give the widest layer its rows."""
    return max(ceil(ROWS * layer.unknowns / max(layer.rows, 1.0)) for layer in layers)


def _effort(model: ir.Model, layers: list[_Layer], macs: float, samples: int) -> Effort:
    """Runs of both nets and of the gradients, covariances, and their factors."""
    # Two operations for each multiply-accumulate, in about six passes: both nets, and forward and backward for the
    # losses.
    runs = 2.0 * macs * samples * 6
    # As ReconstructOptions draws them, and never more than the samples have.
    rows = [min(max(4096, ROWS * layer.unknowns), layer.rows * samples) for layer in layers]
    solving = sum(
        layer.groups * (2.0 * n * layer.unknowns**2 + 8.0 * layer.unknowns**3)
        for layer, n in zip(layers, rows, strict=True)
    )
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    widest = max(layer.groups * layer.unknowns**2 for layer in layers)
    return Effort((runs + solving) / SPEED / cores(), 5.0 * weights + 8.0 * 5 * widest + 2e9)


def _memory() -> float:
    """Bytes of memory that may be filled: most of what the machine has."""
    try:
        # The rest is left to the system and to what else runs.
        return 0.7 * prod(os.sysconf(name) for name in ("SC_PAGE_SIZE", "SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return 8e9
