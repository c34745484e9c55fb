"""What the quantiser is asked for, what it makes of a model, and how far that is from the original."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx_ir as ir

from compressor.config.quantize import QuantizeSettings
from compressor.core.formatting import count, quantity
from compressor.core.globs import any_match
from compressor.data import open_data, open_parts
from compressor.errors import ModelError, NothingToPrune, UsageError
from compressor.evaluate.stand_in import given_samples_notes, stand_in
from compressor.graph.disk import files
from compressor.graph.form import clean
from compressor.graph.form.normalise import Separation, normalise
from compressor.graph.form.restore_packed import with_plain_weights
from compressor.graph.ir import exporter_metadata
from compressor.graph.ir.nodes import CODES, REALS, operator_key
from compressor.graph.ir.opsets import version_of
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.graph.tensors.weights import all_finite, weight_bytes
from compressor.metrics.evaluator import Evaluator, MeasuredMetric, evaluator_for, labels_unread
from compressor.operators.quantization_grid import reals_each
from compressor.operators.table import operator_of
from compressor.pruning.cut.analysis import prepared_model
from compressor.pruning.cut.matching import nearest
from compressor.results import ModelStats
from compressor.results.detail import AccuracyRow, OutputsRow
from compressor.results.quantize import QuantizedRow, QuantizeReport
from compressor.runtime.quantizer import QUANTISER_REMEDY, Quantization
from compressor.steps import run_files
from compressor.steps.refused_samples import samples_tried
from compressor.steps.run_samples import NOT_COMPARED, RunSamples

TAKEN = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16})
"""Types of weights that the quantiser knows."""
TAKES, PACKS = (
    "it takes convolutions and products with one constant matrix",
    "it packs matrix products with one constant matrix, no convolutions",
)
"""What the quantiser takes, and in four bits."""
OLDEST, BY_CHANNEL, NARROW_FROM = 10, 13, 19
"""Operator sets from which QuantizeLinear exists, takes a scale for each channel, and takes float16."""
CALIBRATED_ON_MADE_UP = (
    "no data was given, so activations were calibrated on made-up samples; --data with real ones may keep more"
)
MODES = ("static", "dynamic")
"""What ``--mode auto`` chooses from; the first, which is mostly faster, where both are as good."""
NO_CHANNELS = "operator set {opset} has no scales by channel, which came with 13, so each weight has one scale"
ALREADY_PACKED = (
    "the weights of {path} are stored packed, in {before} altogether; quantization stores each weight by itself, and "
    "takes {after}: unify or quantise, not both"
)
WEIGHT_NOT_FINITE = (
    "weight {weight!r} holds numbers that are not finite, which no scale fits, so {nodes} stays as it was"
)
LARGER = "the file became larger, {before} -> {after}: its weights are few, and scales and nodes are added"


@dataclass(frozen=True)
class QuantizeTask:
    """What is quantised, and how.

    Attributes:
        model: a simplified copy of the user's model; weights that were packed are plain.
        weights: initializers that linear and recurrent operators multiply with, by name.
        mode: static, dynamic or int4.
        asked: of the quantiser.
        notes: what the user should know of it.
    """

    model: ir.Model
    weights: Mapping[str, ir.Value]
    mode: str
    asked: Quantization
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moved:
    """How far the quantised model is from its original.

    Attributes:
        outputs: distance on samples; None where no output can be compared.
        accuracy: where there are labels.
        warnings: what could not be said.
    """

    outputs: OutputsRow | None
    accuracy: list[AccuracyRow]
    warnings: tuple[str, ...]


def quantize_tasks(source: ir.Model, settings: QuantizeSettings) -> list[QuantizeTask]:
    """Prepares a copy of ``source``, and says what is asked of the quantiser: one task, or one for each mode to try.

    Raises:
        NothingToPrune: there is no weight to quantise, or none is left by the globs.
        ModelError: the operator set cannot hold what is asked for.
        UsageError: a glob matches nothing.
    """
    ready, _ = prepared_model(with_plain_weights(source), settings)
    clean.tidy(ready, simplify=settings.simplify)
    weights = layer_weights(ready)
    _demand_weights(weights)
    # The quantiser writes a weight in the form that one of its readers wants, which others then cannot read.
    separate = Separation(ready)
    if sum(separate.by(value, partial(_way_of_reading, value)) for value in weights.values()):
        weights = layer_weights(ready)
    tasks, refused = [], []
    for mode in MODES if settings.mode == "auto" else (settings.mode,):
        try:
            quantization, notes = _asked(ready, weights, settings, mode)
        except ModelError as error:
            refused.append(error)
        else:
            tasks.append(QuantizeTask(ready, weights, mode, quantization, tuple(notes)))
    if not tasks:
        raise refused[0]
    return tasks


def _way_of_reading(value: ir.Value, node: ir.Node, slot: int) -> Hashable:
    """Equal for uses of a weight that the quantiser can serve with one form of it.

    Readers that multiply nothing with it, such as a table of tokens, take the form of the first that does.
    """
    if not _takes_weight(node, slot):
        node, slot = next(use for use in value.uses() if _takes_weight(*use))
    return operator_key(node), slot, tuple(sorted((a.name, str(a.value)) for a in node.attributes.values()))


def layer_weights(model: ir.Model) -> dict[str, ir.Value]:
    """Initializers of real numbers and two axes or more that linear and recurrent operators multiply with, by name."""
    weights = {}
    for node in model.graph:
        for slot, value in enumerate(node.inputs):
            tensor = None if value is None else value.const_value
            if value is None or tensor is None or tensor.dtype not in REALS or len(tensor.shape) < 2:
                continue
            if _takes_weight(node, slot):
                weights[str(value.name)] = value
    return weights


def _takes_weight(node: ir.Node, slot: int) -> bool:
    """Is this input one that a linear or recurrent operator multiplies with?"""
    rule = operator_of(node)
    # The first three inputs of a recurrent layer are its signal and its two weights; what follows is added, or states.
    return rule.linear or (rule.recurrent and slot in (1, 2))


# ---- what is refused -----------------------------------------------------------------------------------------


def demand_unquantised(source: ir.Model) -> None:
    """Raises NothingToPrune where weights are whole numbers already."""
    # Of zero points, which may be matrices too, no number stands for a parameter.
    values = [v for v in with_plain_weights(source).graph.initializers.values() if reals_each(v)]
    tensors = (v.const_value for v in values)
    whole = [t for t in tensors if t is not None and t.dtype in CODES and len(t.shape) > 1]
    if whole:
        kind = whole[0].dtype.name.lower()
        raise NothingToPrune(
            f"the model is quantised already: {count(len(whole), 'weight')} of it, such as {whole[0].name!r}, "
            f"{'is' if len(whole) == 1 else 'are'} stored as {kind}; quantise the model that it was made from"
        )


def _demand_weights(weights: Mapping[str, ir.Value]) -> None:
    if not weights:
        raise NothingToPrune(
            "the model has no weight of real numbers that a convolution, matrix product or recurrent layer reads, so "
            "there is nothing to quantise"
        )
    kinds = {value.dtype for value in weights.values()}
    if not kinds & TAKEN:
        names = " and ".join(sorted(kind.name.lower() for kind in kinds if kind is not None))
        raise NothingToPrune(
            f"the weights are {names}, and ONNX Runtime's quantiser takes float and float16; convert the model first"
        )


def demand_quantised(rows: Sequence[QuantizedRow], task: QuantizeTask, notes: Sequence[str]) -> None:
    """Raises NothingToPrune where the quantiser took no weight, with what it would have taken or what kept it off."""
    if any(row.quantized for row in rows):
        return
    why = next(iter([*task.notes, *notes]), None)
    if why is None:
        readers = sorted({node.op_type for value in task.weights.values() for node, _ in value.uses()})
        why = f"{PACKS if task.mode == 'int4' else TAKES}, and these are weights of {', '.join(readers)}"
    raise NothingToPrune(
        f"ONNX Runtime quantised none of {count(len(rows), 'weight')} with --mode {task.mode}: {why}; "
        "choose another --mode"
    )


def _asked(
    model: ir.Model, weights: Mapping[str, ir.Value], settings: QuantizeSettings, mode: str
) -> tuple[Quantization, list[str]]:
    """What the quantiser is asked for, and notes; raises UsageError for globs that match nothing or leave nothing."""
    # A user may name a weight by itself, as the report does, or by the node that reads it.
    names = {
        name: {name, exporter_metadata.readable(value), *(str(node.name) for node, _ in value.uses())}
        for name, value in weights.items()
    }
    for glob in (*settings.include, *settings.exclude):
        if not any(any_match(texts, [glob]) for texts in names.values()):
            near = nearest(glob, (text for texts in names.values() for text in texts))
            raise UsageError(f"{glob!r} matches no weight that could be quantised, nor its node; {near}")

    def matched(name: str, globs: tuple[str, ...]) -> bool:
        return any_match(names[name], globs)

    wanted = [name for name in weights if not settings.include or matched(name, settings.include)]
    left = [name for name in weights if name not in wanted or matched(name, settings.exclude)]
    if len(left) == len(weights):
        raise NothingToPrune("--include and --exclude leave no weight that could be quantised")
    opset = version_of(model)
    if opset < OLDEST and mode == "static":
        raise ModelError(
            f"operator set {opset} cannot hold quantised activations, which came with {OLDEST}; convert the model to a "
            "newer one (onnx.version_converter), or choose --mode dynamic"
        )
    narrow = all(value.dtype == ir.DataType.FLOAT16 for value in weights.values())
    if narrow and (mode == "dynamic" or (mode == "static" and opset < NARROW_FROM)):
        newer = (
            f", --mode static with operator set {NARROW_FROM} (onnx.version_converter)"
            if opset < NARROW_FROM
            else ", static"
        )
        raise ModelError(
            f"the weights are float16, and of these ONNX Runtime's quantiser makes nothing that runs with --mode "
            f"{mode} at operator set {opset}; choose --mode int4{newer}, or quantise the float32 model that "
            "this one was converted from"
        )
    # Four-bit weights have scales by block, whatever the operator set.
    by_channel = settings.per_channel and (opset >= BY_CHANNEL or mode == "int4")
    notes = [NO_CHANNELS.format(opset=opset)] if settings.per_channel and not by_channel else []
    # Other types are not taken.
    held = {n: v.const_value for n, v in weights.items() if n not in left and v.dtype in TAKEN}
    odd = [name for name, tensor in held.items() if tensor is not None and not all_finite(tensor)]
    for name in odd:
        readers = ", ".join(sorted(repr(str(node.name)) for node, _ in weights[name].uses()))
        notes.append(WEIGHT_NOT_FINITE.format(weight=exporter_metadata.readable(weights[name]), nodes=readers))
    nodes = tuple(str(node.name) for name in (*left, *odd) for node, _ in weights[name].uses())
    # Half of what one file may hold leaves room for the models that the quantiser writes on the way.
    large = weight_bytes(model) > files.MAX_INLINE_BYTES // 2
    return Quantization(by_channel, settings.calibration, settings.block_size, nodes, large), notes


# ---- the steps -----------------------------------------------------------------------------------------------


def quantize_samples(source: ir.Model, settings: QuantizeSettings) -> RunSamples:
    """The user's, or made-up ones.

    Raises:
        UsageError: the data is unreadable or does not fit the model, or a gate cannot be judged on it.
    """
    if settings.data is not None:
        train, valid = open_parts(settings, source)
        samples = RunSamples(train, valid if len(valid) else None, real=True)
    else:
        judged = None
        if settings.val_data is not None:
            judged = open_data(settings.model_copy(update={"data": settings.val_data}), source)
        # A model of a fixed batch is run on whole ones.
        count = max(settings.samples, batch_limit(source) or 0)
        samples = RunSamples(stand_in(normalise(source.clone()), settings, count), judged, real=False)
    return samples


@dataclass(frozen=True)
class JudgedOriginal:
    """The metric of an original.

    Attributes:
        evaluator: measures it.
        measured: what it is of the original.
    """

    evaluator: Evaluator
    measured: MeasuredMetric

    @staticmethod
    def of(source: ir.Model, samples: RunSamples, settings: QuantizeSettings) -> JudgedOriginal | None:
        """Measures it, so that a gate that cannot be judged is refused before any work; None without labels.

        Raises:
            UsageError: the metric cannot be measured, and somebody asked for it; or no loss of it is within a limit.
        """
        evaluator = evaluator_for(settings, samples.valid, settings.max_drop)
        if evaluator is None:
            return None
        with samples_tried(lambda: source, settings):
            measured = evaluator.measure(source, samples.valid, source)
        evaluator.check_base(settings.max_drop, measured.value)
        return JudgedOriginal(evaluator, measured)


def moved_by_quantization(
    source: ir.Model,
    result: ir.Model,
    samples: RunSamples,
    original: JudgedOriginal | None,
    settings: QuantizeSettings,
) -> Moved:
    """Compares outputs with the original's, and accuracy where there are labels.

    Raises:
        ModelError: the result does not run on samples that the original runs on.
    """
    try:
        with samples_tried(lambda: source, settings):
            row = samples.outputs_row(source, [result], settings)
    except ModelError as error:
        # The original runs on these samples, so this is no fault of the data.
        raise ModelError(
            f"what ONNX Runtime's quantiser makes does not run on samples that the original runs on: {error}; "
            f"{QUANTISER_REMEDY}"
        ) from None
    accuracy = []
    unlike = given_samples_notes(normalise(source.clone()), samples.train, settings)
    evaluator = None if original is None else original.evaluator
    if original is not None:
        before, after = original.measured, original.evaluator.measure(result, samples.valid, source)
        accuracy = [original.evaluator.row(before.value, after.value, before.samples, samples.valid)]
    untold = () if row is not None else (NOT_COMPARED.format(reason="no output can be compared sample by sample"),)
    return Moved(row, accuracy, (*untold, *labels_unread(samples.valid, evaluator), *unlike))


def put_quantized(
    model: ir.Model, sealed: ir.Model | None, output: Path | None, settings: QuantizeSettings, before: ModelStats
) -> ModelStats:
    """Writes the quantised model, once the written bytes are proved, and counts it; without ``output`` only counts.

    The file is held against ``sealed``, the model as it was when it was compared with the original.

    Raises:
        CompressorError: as :func:`compressor.steps.run_files.put_in_place`.
    """
    stats = run_files.put_in_place(model, output, settings, None, sealed)
    # Quantised nodes count no multiply-accumulates of real numbers; there are as many as before.
    return stats.model_copy(update={"macs": before.macs, "uncounted": 0})


def growth(report: QuantizeReport, source: Path, *, packed: bool) -> list[str]:
    """A warning for what it cost that weights were packed, or that there is little to quantise."""
    assert report.output is not None
    before, after = (quantity(stats.bytes, "B") for stats in (report.input, report.output))
    if packed:
        return [ALREADY_PACKED.format(path=source.name, before=before, after=after)]
    return [LARGER.format(before=before, after=after)] if report.output.bytes > report.input.bytes else []
