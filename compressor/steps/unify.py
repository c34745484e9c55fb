"""What a unification run does between reading and writing: prepares, weighs, trains, packs, proves, judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Policy
from compressor.config import UnifySettings
from compressor.core.clock import Clock
from compressor.core.scratch import scratch
from compressor.data import Dataset
from compressor.errors import NothingToPrune
from compressor.graph.disk import files
from compressor.graph.form import clean
from compressor.graph.form.restore_packed import with_plain_weights
from compressor.graph.sizes.shapes import Shapes
from compressor.metrics.evaluator import Evaluator
from compressor.operators.table import RULES
from compressor.pruning.cut.analysis import prepared_model
from compressor.pruning.proofs import proof
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProved, demand_proof
from compressor.pruning.proofs.preparation import Original, prove_preparation
from compressor.pruning.proofs.proof import MaskedReference
from compressor.pruning.proofs.weights_only import prove_only_weights
from compressor.results import ModelStats
from compressor.results.unify import LeftRow, PermutedRow, UnifyAccuracy, UnifyReport
from compressor.runtime.stored import Stored
from compressor.steps import counts, report_rows, run_files
from compressor.unification.curvature import curvatures
from compressor.unification.layer_rows import ideal_bytes, layer_row, output_error, training_row, why_nothing
from compressor.unification.layers import FoundWeights, find_weights
from compressor.unification.permute import Permuted, permute
from compressor.unification.project import target
from compressor.unification.train import ProgressLines, SetTraining, UnificationTraining, UnifySamples
from compressor.unification.unified import Unified, with_unified
from compressor.unification.unpack import install
from compressor.unification.unpacked import demand_unpacked

UNIFIED_ALREADY = (
    "the weights are unified already, in these very blocks, so that none of them changed; another --block or "
    "--codebook makes a smaller file"
)
_LOST = "weights that were inputs with a default are packed, so a caller cannot replace them any more: {names}"


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to be unified.

    Attributes:
        model: a simplified copy of the user's model.
        shapes: its shapes.
        weights: of its layers.
        before: the user's model, counted.
        reference: the model before channels were reordered; the model itself where none were.
        permuted: what was reordered.
        not_proved: what of the preparation could not be proved.
    """

    model: ir.Model
    shapes: Shapes
    weights: FoundWeights
    before: ModelStats
    reference: ir.Model
    permuted: Sequence[Permuted] = ()
    not_proved: Sequence[NotProved] = ()


@dataclass(frozen=True)
class PackedModel:
    """What unified weights make of a model.

    Attributes:
        model: stores them packed, or plain where ``--dense`` asks for that.
        dense: the same with plain tensors, which the packed one is proved against.
        unified: the layers.
    """

    model: ir.Model
    dense: ir.Model
    unified: Sequence[Unified]


@dataclass(frozen=True)
class UnifyProof:
    """That unpacking gives every weight to the bit, and outputs follow.

    Attributes:
        evidence: of the outputs; with what of the preparation could not be proved.
        output_error: largest change of an output; None where all are zero.
    """

    evidence: Evidence
    output_error: float | None


def get_ready(source: ir.Model, settings: UnifySettings, size: int, path: Path | None) -> Prepared:
    """A simplified copy of ``source`` and its layers; weights that are packed already are taken as plain ones.

    Raises:
        NothingToPrune: no weight would be unified.
        ProofFailed: preparing the model changed an output.
    """
    original = Original(source if path is None else path, source)
    source = with_plain_weights(source)
    before = counts.stats_in_memory(source, settings, size)
    model, shapes = prepared_model(source, settings)
    clean.tidy(model, simplify=settings.simplify)
    coupling = Coupling(model.graph, shapes, RULES, Policy()).run()
    weights = find_weights(coupling, settings)
    if not weights.layers:
        raise NothingToPrune(why_nothing(weights, model.graph))
    missing = prove_preparation(original, model, shapes, settings) if settings.verify == "full" else []
    before = before.model_copy(update={"path": None if path is None else str(path)})
    ready = Prepared(model, shapes, weights, before, model, not_proved=missing)
    if not settings.permute:
        return ready
    # Reordering changes the graph in place, and has to be proved against the order that was given.
    ready = replace(ready, reference=model.clone())
    blocks = [layer for layer in weights.layers if not layer.layout.block.values]  # codes may stand in any order
    return replace(ready, permuted=permute(coupling, blocks, settings.seed))


def weighed(ready: Prepared, data: Dataset, settings: UnifySettings) -> Prepared:
    """The same with the curvature of every layer of which it can be told, measured on samples."""
    curvature = curvatures(ready.model, [layer.name for layer in ready.weights.layers], data, settings)
    layers = [replace(layer, curvature=curvature.get(layer.name)) for layer in ready.weights.layers]
    return replace(ready, weights=replace(ready.weights, layers=layers))


def trained(ready: Prepared, samples: UnifySamples, settings: UnifySettings, clock: Clock) -> SetTraining:
    """The model with weights that training brought to their sets.

    Raises:
        CompressorError: as :func:`compressor.train.finetune.finetune`, or the teacher cannot be read.
    """
    teacher = ready.model if settings.teacher is None else files.load_model(settings.teacher)
    targets = {layer.name: target(layer, settings) for layer in ready.weights.layers}
    watch = ProgressLines(settings, clock)
    return UnificationTraining(ready.model, teacher, targets, settings, samples, watch).run()


def packed(model: ir.Model, unified: Sequence[Unified], settings: UnifySettings) -> PackedModel:
    """``model`` with the constrained weights; itself not changed."""
    dense = with_unified(model, unified)
    result = dense.clone()
    if not settings.dense:
        install(result, {result.graph.initializers[u.layer.name]: u.packed for u in unified})
    return PackedModel(result, dense, unified)


def _lost_inputs(original: ir.Model, result: ir.Model) -> list[str]:
    """A warning for inputs with a default that packing turned into nodes."""
    lost = sorted({str(v.name) for v in original.graph.inputs} - {str(v.name) for v in result.graph.inputs})
    return [_LOST.format(names=", ".join(map(repr, lost)))] if lost else []


def prove_unified(ready: Prepared, result: PackedModel, settings: UnifySettings) -> UnifyProof:
    """Proves weights bit by bit and constraint by constraint, then outputs.

    Raises:
        ProofFailed: something differs.
    """
    demand_unpacked(result.model, result.unified)
    with scratch() as place:
        models = {"reference": ready.reference, "permuted": ready.model, "dense": result.dense, "packed": result.model}
        stored = {name: Stored.write(model, place, settings.provider) for name, model in models.items()}
        # Reordered channels sum in another order, so this is a proof within rounding; packing is proved to the bit.
        if ready.permuted:
            masked = MaskedReference(ready.reference, stored["reference"])
            demand_proof(proof.prove(masked, stored["permuted"], ready.shapes, settings)[0])
        plain = MaskedReference(result.dense, stored["dense"])
        evidence, standard = proof.prove(plain, stored["packed"], ready.shapes, settings)
        before = stored["reference"].run(standard.runs.feeds)
    # What was trained has the weights that were to be unified, and nothing else.
    if settings.verify == "full":
        prove_only_weights(ready.model, result.dense, standard.runs.feeds, settings)
    demand_proof(evidence)
    evidence = replace(evidence, not_proved=ready.not_proved)
    return UnifyProof(evidence, output_error(before, standard.runs))


def unify_report(
    ready: Prepared, trained: SetTraining, result: PackedModel, proved: UnifyProof | None, settings: UnifySettings
) -> UnifyReport:
    """The report of a run, without accuracy, seconds and what is known of the written file."""
    rows = [layer_row(layer) for layer in result.unified]
    note = proved.evidence.note if proved is not None else None
    return UnifyReport(
        input=ready.before,
        layers=rows,
        left=[LeftRow(**vars(left)) for left in ready.weights.left],
        ideal_bytes=ideal_bytes(result.dense, result.unified, rows),
        permuted=[PermutedRow(**vars(one)) for one in ready.permuted],
        training=training_row(settings, trained) if trained.kinds else None,
        undone=trained.undone,
        ran={"training": trained.ran} if trained.ran else {},
        exact=None if proved is None else True,
        proof=None if proved is None else report_rows.proof_row(proved.evidence, settings),
        output_error=None if proved is None else proved.output_error,
        warnings=[
            *trained.warnings,
            *_lost_inputs(ready.model, result.model),
            *([UNIFIED_ALREADY] if all(item.unchanged for item in result.unified) else []),
            *([f"proof: {note}"] if note else []),
        ],
        settings=settings.model_dump(mode="json"),
    )


def accuracy_row(
    evaluator: Evaluator, before: ir.Model, once: ir.Model | None, after: ir.Model, data: Dataset | None
) -> UnifyAccuracy:
    """The metric of the original, in one shot where training followed, and as it is written."""
    first = evaluator.measure(before, data, before)
    return UnifyAccuracy(
        before=first.value,
        one_shot=evaluator.measure(once, data, before).value if once is not None else None,
        after=evaluator.measure(after, data, before).value,
        samples=first.samples,
        metric=evaluator.name,
        share=evaluator.share,
    )


def put_unified(
    model: ir.Model, output: Path | None, settings: UnifySettings, proved: Evidence | None, before: ModelStats
) -> ModelStats:
    """Writes the model, once the written bytes are proved, and counts it; without ``output`` only counts.

    Args:
        model: the result of a run.
        output: where it goes.
        settings: how it is written and proved.
        proved: what was proved of it.
        before: the original, whose MACs it has.

    Raises:
        CompressorError: as :func:`compressor.steps.run_files.put_in_place`.
    """
    stats = run_files.put_in_place(model, output, settings, proved)
    return stats.model_copy(update={"macs": before.macs, "uncounted": 0})
