"""Fine-tuning an ONNX model: from graph to module, through the loop, and back into the same graph by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import torch

from compressor.config import TuneSettings
from compressor.config.training import demand_teacher
from compressor.core.arrays import Array
from compressor.core.compare import Tolerance
from compressor.data import Dataset, augmentation, check_labels, open_parts, split_dataset
from compressor.data.batch import samples_in
from compressor.data.filled import filled_notes
from compressor.data.prepared import preparation_told
from compressor.data.spec import few_notes
from compressor.errors import FAULT, ModelError, ProofFailed, TrainingDiverged, UsageError
from compressor.graph.disk.model_result import ModelResult
from compressor.graph.form.upcast import is_narrow, widened
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.metrics.evaluator import evaluator_for, labels_unread
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.results.records import CHOSEN_ON_JUDGED
from compressor.runtime.stored import Runs, run_once
from compressor.torch_ops.tensors import to_numpy
from compressor.train import training_options
from compressor.train.loop.distributed import Processes, processes_of
from compressor.train.loop.epoch_metric import EpochMetric
from compressor.train.loop.errors import memory_named
from compressor.train.loop.extension import Extension
from compressor.train.loop.fit import Observer, fit
from compressor.train.loop.history import History
from compressor.train.loop.losses import ACCURACY, OutputProbe, objective_for
from compressor.train.loop.objective import DeviceBatch, Objective
from compressor.train.loop.precision import Precision
from compressor.train.loop.prefetch import Placing
from compressor.train.loop.split import SET_ASIDE, JudgedSamples, Splits, aside_of, evenly_spaced
from compressor.train.module.graph_module import GraphModule
from compressor.train.module.intermediate_outputs import with_outputs
from compressor.train.module.pieces import ModuleOutputs, chunk_of, run_module
from compressor.train.pair import TaughtPair
from compressor.train.reparameterize import ensemble

TOLD_AS_RAN = ("loss", "optimiser", "learning_rate", "batch_size", "epochs", "train_bn", "insert_bn", "augment")
"""Settings of a training that reports tell as they ran, also where they follow from the model."""
LOOKED_AT = 32
"""Samples that are run before training, to see what outputs hold, and after it, to verify."""


@dataclass(repr=False)
class TuneResult(ModelResult):
    """What fine-tuning made.

    Attributes:
        model: the given one with trained weights; nothing else differs.
        history: of the loop.
        compared: how each output was compared with the original's, in words.
        max_rel_err: of ``model`` in ONNX Runtime against the trained module; None if that was not verified.
        warnings: what the user should know.
        main: whether this process is the one that writes; others hold the same weights.
        judged: what loss and metric before and after are of.
        ran: settings by which it was trained in the end.
        prepared: what samples went through before the model saw them, in words.
        baseless: that labels tell nothing of the network; whoever trains as a part of more says it of the original.
    """

    model: ir.Model
    history: History
    compared: list[str] = field(default_factory=list)
    max_rel_err: float | None = None
    warnings: list[str] = field(default_factory=list)
    main: bool = True
    judged: JudgedSamples | None = None
    baseless: list[str] = field(default_factory=list)
    ran: dict[str, Any] = field(default_factory=dict)
    prepared: str = ""

    @property
    def caveats(self) -> list[str]:
        """What the numbers before and after do not show; whoever trains as a part of more says it of its own."""
        return [*self.baseless, *([CHOSEN_ON_JUDGED] if self.history.chosen else [])]

    def headline(self) -> list[tuple[str, str]]:
        """Loss and metric before and after, and how long it trained."""
        before, after = self.history.before, self.history.after
        rows = [("loss", f"{before.loss:.4g} -> {after.loss:.4g}")]
        if before.metric is not None and after.metric is not None:
            rows.append((self.history.metric_name or "metric", f"{before.metric:.4g} -> {after.metric:.4g}"))
        return [*rows, ("epochs", f"{len(self.history.epochs)}, best {self.history.best_epoch}")]


def finetune(
    model: ir.Model,
    settings: TuneSettings,
    *,
    teacher: ir.Model | None = None,
    data: Dataset | Splits | None = None,
    extensions: Sequence[Extension] = (),
    observe: Observer | None = None,
) -> TuneResult:
    """Trains the weights of a model and verifies in ONNX Runtime that they are back in it.

    Args:
        model: not changed. One of 16-bit floats is trained in float32 and rounded at the end.
        settings: how; ``settings.data`` is opened unless ``data`` is given.
        teacher: the original, for losses that imitate one.
        data: samples as the model wants them; a share is set aside unless they come in parts.
        extensions: take part in the loop; names of parameters are those of initializers.
        observe: receives progress.

    Raises:
        UnsupportedOperator: a node has no function in torch; raised before anything is computed.
        UsageError: data, labels, loss and model do not go together; or memory ran out.
        NothingToTrain: the model has no weight that training could change.
        TrainingDiverged: the loss is NaN or infinite; ``model`` of the error holds the last good weights.
        ProofFailed: the written weights do not give what the trained module gives.
    """
    processes = processes_of(settings.device)
    parts = _parts(model, settings, data, taught=teacher is not None)
    # Comes before the pair is made, as the graph that is trained has more nodes than the one that was given.
    if settings.insert_bn:
        return _between_norms(model, settings, teacher, parts, extensions, observe)
    pair = TaughtPair.of(model, settings, teacher, [name for extension in extensions for name in extension.values])
    with memory_named(settings.batch_size):
        seen = _seen(parts, pair, processes)
        if settings.teacher_ensemble:
            pair = _taught_by_many(pair, parts, settings, seen)
        objective, compared, warnings = _objective(settings, pair, seen)
        if not _runs_mixed(objective, pair, seen, Precision(processes.device, settings)):
            settings = settings.model_copy(update={"amp": "off"})
            warnings.append("the graph does not run in mixed precision, so it is trained without")
    chosen = [*extensions, *training_options.extensions_of(settings)]
    # After the objective is chosen: it measures by writing the module's weights into a copy of the model.
    objective = objective.judged_by(_metric(model, teacher, pair, parts, settings))

    def train(asked: TuneSettings, *more: Extension) -> History:
        return fit(pair.module, objective, parts, asked, extensions=[*chosen, *more], observe=observe)

    try:
        with training_options.expand_weights(pair.module, model, settings) as more:
            # The sweep runs inside ``expand_weights``: the best rate for factors is another one than for plain weights.
            settings, notes = training_options.best_rate(pair.module, settings, lambda asked: train(asked, *more))
            history = train(settings, *more)
    except TrainingDiverged as error:
        error.model = pair.module.cpu().write_back(model)
        raise
    written = pair.module.cpu().write_back(model)
    warnings += [*notes, *history.notes, *_unread(parts, settings), *few_notes(parts.train), *filled_notes(parts.train)]
    off = _verify(pair, written, seen, settings) if settings.proves and processes.main else None
    told = (parts.judged(settings.samples), _baseless(parts, settings, history), _ran(settings, history, parts))
    return TuneResult(written, history, compared, off, warnings, processes.main, *told, preparation_told(parts.train))


def _ran(settings: TuneSettings, history: History, parts: Splits) -> dict[str, Any]:
    """The settings that a training came to, by name; the rate is the one that it was not begun anew from."""
    found = settings.model_dump(mode="json", include=set(TOLD_AS_RAN))
    mixed = settings.amp if history.device.startswith("cuda") else "off"
    more = {"learning_rate": history.learning_rate, "device": history.device, "amp": mixed}
    return {**found, **more, "samples": len(parts.train), "optimiser_steps": history.steps}


def _between_norms(
    model: ir.Model,
    settings: TuneSettings,
    teacher: ir.Model | None,
    parts: Splits,
    extensions: Sequence[Extension],
    observe: Observer | None,
) -> TuneResult:
    """:func:`finetune` with BatchNormalization put in before and folded away after."""
    # Statistics of the norms that are put in are trained; ``insert_bn`` off ends the recursion.
    plain = settings.model_copy(update={"insert_bn": False, "train_bn": True})
    inserted = training_options.with_batchnorm(model, settings, parts.train).model
    result = finetune(inserted, plain, teacher=teacher, data=parts, extensions=extensions, observe=observe)
    result = replace(result, ran={**result.ran, "insert_bn": True})
    if result.history.best_epoch == 0:
        return replace(result, model=model)  # folding would change last bits of weights that were not trained
    return replace(result, model=training_options.without_batchnorm(result.model, settings, parts.train))


def _metric(
    model: ir.Model, teacher: ir.Model | None, pair: TaughtPair, parts: Splits, settings: TuneSettings
) -> EpochMetric | None:
    """The metric that was asked for, of the model with the weights that the module holds; None where none was.

    It is measured in ONNX Runtime, as everywhere else, so that its numbers are those of other commands.

    Raises:
        UsageError: it cannot be measured on the samples that are set aside, or there are none.
    """
    if settings.eval is None:
        return None
    evaluator = evaluator_for(settings, parts.valid)
    assert evaluator is not None

    def measure() -> float:
        return evaluator.measure(pair.module.write_back(model), parts.valid, teacher).value

    return EpochMetric(evaluator.name, evaluator.higher_is_better, measure)


def _unread(parts: Splits, settings: TuneSettings) -> list[str]:
    """A sentence where neither the loss nor a metric reads the labels."""
    # Other losses read labels, whatever they are.
    return labels_unread(parts.valid, evaluator_for(settings, parts.valid)) if settings.loss == "distill" else []


def _baseless(parts: Splits, settings: TuneSettings, history: History) -> list[str]:
    """A sentence where the network is right by chance, also once it is trained."""
    evaluator, found = evaluator_for(settings, parts.valid), (history.before.metric, history.after.metric)
    if evaluator is None or parts.valid is None or history.metric_name not in (ACCURACY, evaluator.name):
        return []
    best = max(value for value in found if value is not None)
    return evaluator.baseless(best, len(parts.valid), parts.valid, "the network")


def _taught_by_many(pair: TaughtPair, parts: Splits, settings: TuneSettings, seen: DeviceBatch) -> TaughtPair:
    """The pair with an ensemble around its teacher in place of that."""
    if pair.teacher is None:
        raise UsageError("--teacher-ensemble draws around the original, which --loss cross-entropy does not imitate")

    def objective(module: torch.nn.Module) -> Objective:
        alone = replace(pair, module=cast(GraphModule, module), teacher=None)
        # No teacher here: the copy of it that is trained learns from labels.
        return _objective(ensemble.alone(settings), alone, seen)[0]

    return replace(pair, teacher=ensemble.ensemble(pair.teacher, parts, settings, objective))


def _parts(model: ir.Model, settings: TuneSettings, data: Dataset | Splits | None, *, taught: bool) -> Splits:
    # Said before data is opened.
    demand_teacher(settings, given=taught)
    if isinstance(data, Splits):
        parts = data
    else:
        if data is None:
            aside, (train, valid) = aside_of(settings), open_parts(settings, model)
        else:
            aside = SET_ASIDE
            train, valid = split_dataset(data, settings.val_share, settings.seed, batch_limit(model) or 1)
        parts = Splits(train, valid if len(valid) else None, lambda epoch: augmentation(settings, model, epoch), aside)
    if not len(parts.train):
        raise UsageError("there are no samples to train on; give data with more of them")
    if settings.loss in ("cross-entropy", "mixed"):
        for part in (parts.train, parts.valid):
            if part is not None and _whole_numbers(part):
                check_labels(part, model)
    return parts


def _whole_numbers(data: Dataset) -> bool:
    labels = data.take(np.zeros(1, np.int64)).labels
    return labels is None or labels.dtype.kind in "iu"


def _seen(parts: Splits, pair: TaughtPair, processes: Processes) -> DeviceBatch:
    """Some samples for training, on the device; where the graph takes a fixed number, more than one run of it."""
    limit = pair.limit or 1
    # Two runs at least of a fixed size, or ``chunk_of`` has nothing to compare in pieces and as a whole.
    wanted = max(LOOKED_AT // limit, 2) * limit
    batch = parts.train.take(evenly_spaced(len(parts.train), wanted))
    for module in (pair.module, pair.teacher):
        if module is not None:
            module.eval().to(processes.device)
    placing = Placing(processes.device)
    return placing.move(placing.prepare(batch))


def _objective(settings: TuneSettings, pair: TaughtPair, seen: DeviceBatch) -> tuple[Objective, list[str], list[str]]:
    chunk = chunk_of(pair.module, seen.inputs, pair.limit)
    # Either of the two may depend on the batch size, and both run on the same batches.
    if pair.teacher is not None and chunk is None:
        chunk = chunk_of(pair.teacher, seen.inputs, pair.limit)
    with torch.no_grad():
        student = run_module(pair.module, seen.inputs, chunk)
        taught: ModuleOutputs = run_module(pair.teacher, seen.inputs, chunk) if pair.teacher is not None else ()
    probe = OutputProbe(pair.names, settings.features, student, taught, seen.labels, pair.vocabularies)
    objective, compared = objective_for(settings, probe, pair.teacher, chunk)
    warnings = []
    if chunk is not None:
        warnings.append(
            f"the graph takes {chunk} samples at a time, whatever --batch-size says; batches are run in such pieces, "
            "which is slow for small ones"
        )
    return objective, compared, warnings


def _runs_mixed(objective: Objective, pair: TaughtPair, seen: DeviceBatch, precision: Precision) -> bool:
    """Does mixed precision work, or is it off? Some operators want all their operands in one type."""
    if not precision.on:
        return True
    try:
        # The forward pass tells, as operands of different types meet there.
        with torch.no_grad(), precision.autocast():
            objective.run(pair.module, seen)
            objective.teach(seen)
    except ModelError:
        return False
    return True


def _verify(pair: TaughtPair, written: ir.Model, seen: DeviceBatch, settings: TuneSettings) -> float:
    """The largest error of the written model in ONNX Runtime against the trained module, on the CPU.

    Raises:
        ProofFailed: it is larger than the settings allow.
    """
    if is_narrow(written):
        # Held against each other in float32, on the weights as they were rounded: what 16 bits add while computing is
        # the model's own precision, and no fault of what was written.
        written = widened(written)
        pair = replace(pair, module=GraphModule(with_outputs(written, settings.features)))
    count = pair.limit or min(len(seen), LOOKED_AT)
    inputs = {name: (t[:count] if t.ndim else t).cpu() for name, t in seen.inputs.items()}
    # Fewer samples than the fixed batch size: the last one is repeated, as in training.
    short = count - samples_in(inputs)
    if short > 0:
        inputs = {
            name: torch.cat([t, t[-1:].expand(short, *t.shape[1:])]) if t.ndim else t for name, t in inputs.items()
        }
    with torch.no_grad():
        # Values that were only asked for as features come after the model's own outputs.
        ours = run_module(pair.module.eval(), inputs)[: len(pair.names)]
    feeds: dict[str, Array] = {}
    types = {str(v.name): v.dtype for v in written.graph.inputs}
    for name, tensor in inputs.items():
        dtype = types[name]
        # Placing widened inputs of 16 bits; the written graph may still ask for them.
        feeds[name] = to_numpy(tensor) if dtype is None else to_numpy(tensor).astype(dtype.numpy())
    theirs = run_once(written, [feeds], settings.provider)
    wanted = [to_numpy(t).astype(a.dtype) for t, a in zip(ours, theirs.outputs[0], strict=True)]
    asked = Standard(Runs(theirs.names, [feeds], [wanted]), Tolerance(settings.rtol, settings.atol))
    evidence = Evidence.of(asked, theirs)
    if not evidence.passed:
        raise ProofFailed(
            f"output {evidence.worst!r} of the trained model differs by {evidence.max_rel_err:.1e} between torch and "
            f"ONNX Runtime, more than --rtol {settings.rtol:g} allows; {FAULT}"
        )
    return evidence.max_rel_err
