"""The flow of a unification run: load, analyse, project, train if there is data, pack, prove, write, report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling, Policy
from compressor.commands import bench
from compressor.config import BenchSettings, RunSettings, UnifySettings
from compressor.config.blocks import BlocksSection, StorageSection
from compressor.core.clock import Clock, Progress
from compressor.core.scratch import scratch
from compressor.data import Dataset
from compressor.errors import NothingToPrune
from compressor.graph import clean, files
from compressor.graph.edit import constant_array
from compressor.graph.evaluate import Array
from compressor.graph.model_result import ModelResult
from compressor.graph.provenance import stamp_provenance
from compressor.graph.restore_packed import with_plain_weights
from compressor.graph.shapes import Shapes
from compressor.metrics.evaluator import Evaluator, evaluator_for
from compressor.operators.table import RULES
from compressor.pruning import proof
from compressor.pruning.analysis import prepared_model
from compressor.pruning.proof import Evidence, MaskedReference, NotProved
from compressor.results import ModelStats
from compressor.results.unify import LeftRow, PermutedRow, UnifyAccuracy, UnifyReport
from compressor.runtime.stored import Stored
from compressor.steps import account
from compressor.steps.provenance import unified_facts
from compressor.unification import packed_codebook
from compressor.unification.assignment import Kinds
from compressor.unification.codebook import Codebook
from compressor.unification.curvature import curvatures
from compressor.unification.evidence import (
    Unified,
    demand_exact,
    gzip_bytes,
    ideal_bytes,
    layer_row,
    nothing,
    output_error,
    training_row,
    with_weights,
)
from compressor.unification.layers import Found, UnifiedLayer, find_weights
from compressor.unification.packed import pack_blocks
from compressor.unification.permute import Permuted, permute
from compressor.unification.projections import Mixed
from compressor.unification.train import (
    ProgressLines,
    Trained,
    UnificationTraining,
    UnifySamples,
    remove_checkpoints,
    wide_array,
)
from compressor.unification.unpack import install

_LOST = "weights that were inputs with a default are packed, so a caller cannot replace them any more: {names}"


@dataclass(repr=False)
class UnifyResult(ModelResult):
    """What a unification run made: the model to be written, the same with plain tensors, and the report.

    ``proved`` is what was proved of the model.
    """

    model: ir.Model
    dense: ir.Model
    report: UnifyReport
    proved: Evidence | None = None

    def headline(self) -> list[tuple[str, str]]:
        """That of the report."""
        return self.report.headline()


@dataclass(frozen=True)
class Prepared:
    """A model that is ready to be unified.

    Attributes:
        model: a simplified copy of the user's model.
        shapes: its shapes.
        found: its layers.
        before: the user's model, counted.
        reference: the model before channels were reordered; the model itself where none were.
        permuted: what was reordered.
        not_proved: what of the preparation could not be proved.
    """

    model: ir.Model
    shapes: Shapes
    found: Found
    before: ModelStats
    reference: ir.Model
    permuted: Sequence[Permuted] = ()
    not_proved: Sequence[NotProved] = ()


def unify(model: str | Path | ir.Model, settings: UnifySettings, *, clock: Clock | None = None) -> UnifyResult:
    """Makes blocks of weights share one absolute value, in one shot or by training, and packs them.

    Args:
        model: a path, or a model in memory (not changed).
        settings: which blocks, how many, and how they are stored.
        clock: receives the time of each phase.

    Raises:
        CompressorError: one of :mod:`compressor.errors`, each with its exit code.
    """
    clock = clock or Clock()
    with clock.phase("load"):
        source, size = account.open_source(model, settings)
        samples = UnifySamples.of(settings, source)
        data = None if samples is None else samples.valid
        # Before any work, so that a metric that does not fit the data is refused at once.
        evaluator = evaluator_for(settings, data)
    with clock.phase("analyse"):
        ready = get_ready(source, settings, size, None if isinstance(model, ir.Model) else Path(model))
    if settings.curvature != "none" and samples is not None:
        with clock.phase("weigh"):
            ready = weighed(ready, samples.train, settings)
    with clock.phase("project"):
        # Also where training follows, as the report compares with it.
        once = [project(layer, settings) for layer in ready.found.layers]
    trained = Trained(ready.model)
    if samples is not None and settings.trains:
        targets = {layer.name: target(layer, settings) for layer in ready.found.layers}
        with clock.phase("train"):
            teacher = ready.model if settings.teacher is None else files.load_model(settings.teacher)
            trained = UnificationTraining(
                ready.model, teacher, targets, settings, samples, ProgressLines(settings, clock)
            ).run()
    unified = [adopt(item, trained, settings) for item in once] if trained.kinds else once
    result = finish(ready, trained, unified, settings, clock)
    if evaluator is not None:
        with clock.phase("judge"):
            first = with_weights(ready.model, once) if trained.kinds else None
            result.report = with_accuracy(result, ready.reference, first, data, evaluator)
    origin = None if isinstance(model, ir.Model) else Path(model)
    stamp_provenance(result.model, "unify", settings, origin, unified_facts(result.report))
    return result


def get_ready(source: ir.Model, settings: UnifySettings, size: int, path: Path | None) -> Prepared:
    """A simplified copy of ``source`` and its layers; weights that are packed already are taken as plain ones.

    Raises:
        NothingToPrune: no weight would be unified.
        ProofFailed: preparing the model changed an output.
    """
    read, source = source if path is None else path, with_plain_weights(source)
    before = account.stats_in_memory(source, settings, size)
    model, shapes = prepared_model(source, settings)
    clean.tidy(model, simplify=settings.simplify)
    coupling = Coupling(model.graph, shapes, RULES, Policy()).run()
    found = find_weights(coupling, settings, RULES)
    if not found.layers:
        raise NothingToPrune(nothing(found))
    missing = proof.prove_preparation(read, model, shapes, settings) if settings.verify == "full" else []
    before = before.model_copy(update={"path": None if path is None else str(path)})
    ready = Prepared(model, shapes, found, before, model, not_proved=missing)
    if not settings.permute:
        return ready
    # Reordering changes the graph in place, and has to be proved against the order that was given.
    ready = replace(ready, reference=model.clone())
    blocks = [layer for layer in found.layers if not layer.layout.block.values]  # codes may stand in any order
    return replace(ready, permuted=permute(coupling, blocks, settings.seed))


def weighed(ready: Prepared, data: Dataset, settings: UnifySettings) -> Prepared:
    """The same with the curvature of every layer of which it can be told, measured on samples."""
    found = curvatures(ready.model, [layer.name for layer in ready.found.layers], data, settings)
    layers = [replace(layer, curvature=found.get(layer.name)) for layer in ready.found.layers]
    return replace(ready, found=replace(ready.found, layers=layers))


def project(layer: UnifiedLayer, settings: UnifySettings) -> Unified:
    """One layer in one shot: the nearest weight with the shares that are asked for, packed."""
    weight, nearest = wide_array(layer.value), target(layer, settings)
    kinds = nearest.kinds(weight)
    return pack(layer, constant_array(layer.value), nearest.impose(weight, kinds), kinds, settings)


def target(layer: UnifiedLayer, settings: BlocksSection) -> Mixed | Codebook:
    """The set that the weight of a layer is brought to."""
    if layer.layout.block.values:
        return Codebook(layer.layout, layer.layout.block.values, layer.curvature)
    return Mixed(layer.layout, settings.unify_share, settings.prune_share, layer.curvature)


def adopt(item: Unified, trained: Trained, settings: UnifySettings) -> Unified:
    """The layer with the weight that training gave it."""
    name = item.layer.name
    weight = constant_array(trained.model.graph.initializers[name])
    return pack(item.layer, item.original, weight, trained.kinds[name], settings)


def pack(layer: UnifiedLayer, original: Array, constrained: Array, kinds: Kinds, settings: StorageSection) -> Unified:
    """A layer whose ``constrained`` weight satisfies ``kinds``; shared values are rounded as they are stored."""
    narrow, layout = np.asarray(constrained).astype(original.dtype), layer.layout
    if layout.block.values:
        packed = packed_codebook.pack_codebook(narrow, layout, kinds, layout.block.values, settings.magnitudes)
        return Unified(layer, original, narrow, packed)
    return Unified(layer, original, narrow, pack_blocks(narrow, layout, kinds, settings.magnitudes))


def finish(
    ready: Prepared, trained: Trained, unified: list[Unified], settings: UnifySettings, clock: Clock
) -> UnifyResult:
    """Puts the constrained weights into the trained model, packs them, proves the result, and reports."""
    original = ready.model
    with clock.phase("pack"):
        dense = with_weights(trained.model, unified)
        # The plain model is the reference that the packed one is proved against.
        result = dense.clone()
        if not settings.dense:
            install(result, {result.graph.initializers[u.layer.name]: u.packed for u in unified})
    proof.same_signature(original, result)
    lost = sorted({str(v.name) for v in original.graph.inputs} - {str(v.name) for v in result.graph.inputs})
    rows = [layer_row(u) for u in unified]
    report = UnifyReport(
        input=ready.before,
        layers=rows,
        left=[LeftRow(**vars(x)) for x in ready.found.left],
        ideal_bytes=ideal_bytes(dense, unified, rows),
        permuted=[PermutedRow(**vars(p)) for p in ready.permuted],
        training=training_row(settings, trained) if trained.kinds else None,
        warnings=[*trained.warnings, *([_LOST.format(names=", ".join(map(repr, lost)))] if lost else [])],
        settings=settings.model_dump(mode="json"),
    )
    evidence = None
    if settings.proves:
        with clock.phase("prove"):
            evidence, proved = _proved(ready, dense, result, unified, settings)
            report = report.model_copy(update={**proved, "warnings": [*report.warnings, *proved["warnings"]]})
    return UnifyResult(result, dense, report.model_copy(update={"seconds": clock.seconds}), evidence)


def unify_file(
    source: Path, output: Path | None, settings: UnifySettings, progress: Progress | None = None
) -> UnifyReport:
    """:func:`unify` from file to file; sizes in the report are those of the written file, which is read back.

    Without ``output`` everything is done but writing the model.
    """
    clock = Clock(progress)
    folder = settings.checkpoint
    if folder is None and output is not None and settings.trains:
        folder = output.with_name(output.name + ".checkpoint")
    result = unify(source, settings.model_copy(update={"checkpoint": folder}), clock=clock)
    with clock.phase("write"):
        report = write(result, source, output, settings)
    if settings.latency and output is not None:
        with clock.phase("time"):
            shared = settings.model_dump(include={*RunSettings.model_fields})
            timed = bench.bench(source, output, BenchSettings.model_validate({**shared, "memory": False}))
        report = report.model_copy(update={"latency": bench.summary(timed)})
    report = report.model_copy(update={"seconds": clock.seconds})
    if folder is not None and not settings.keep_checkpoint:
        remove_checkpoints(folder)
    return report


def write(result: UnifyResult, source: Path, output: Path | None, settings: UnifySettings) -> UnifyReport:
    """Writes the model and completes its report; parameters and MACs are those of the same model unpacked."""
    report, graph = result.report, result.model.graph
    # Packed weights are codes, of which neither can be counted.
    counts = (report.input.params, report.input.macs)
    if output is None:
        size = ir.to_proto(result.model).ByteSize()
        return report.model_copy(update={"output": account.stats(None, size, graph, counts)})
    files.save_model(
        result.model,
        output,
        external_data=settings.external_data,
        forbidden=files.model_files(source),
        check=proof.file_check(result.model, result.proved, settings),
    )
    graph = files.load_model(output).graph
    stats = account.stats(output, files.size_on_disk(output), graph, counts)
    return report.model_copy(update={"output": stats, "gzip_bytes": gzip_bytes(files.model_files(output))})


# ---- proof --------------------------------------------------------------------------------------------------


def _proved(
    ready: Prepared, dense: ir.Model, result: ir.Model, unified: Iterable[Unified], settings: UnifySettings
) -> tuple[Evidence, dict[str, Any]]:
    """Weights bit by bit and constraint by constraint, then outputs; raises ProofFailed."""
    demand_exact(result, unified)
    with scratch() as place:
        names = {"reference": ready.reference, "permuted": ready.model, "dense": dense, "packed": result}
        stored = {name: Stored.write(model, place, settings.provider) for name, model in names.items()}
        # Reordered channels sum in another order, so this is a proof within rounding; packing is proved to the bit.
        if ready.permuted:
            masked = MaskedReference(ready.reference, stored["reference"])
            proof.demand_proof(proof.prove(masked, stored["permuted"], ready.shapes, settings)[0])
        evidence, asked = proof.prove(MaskedReference(dense, stored["dense"]), stored["packed"], ready.shapes, settings)
        before = stored["reference"].run(asked.runs.feeds)
    proof.demand_proof(evidence)
    evidence.not_proved = list(ready.not_proved)
    return evidence, {
        "exact": True,
        "proof": account.proof_row(evidence, settings),
        "output_error": output_error(before, asked.runs),
        "warnings": [f"proof: {evidence.note}"] if evidence.note else [],
    }


def with_accuracy(
    result: UnifyResult, before: ir.Model, once: ir.Model | None, data: Dataset | None, evaluator: Evaluator
) -> UnifyReport:
    """The report with the metric: of the original, in one shot where training followed, and as it is written."""
    first = evaluator.measure(before, data, before)
    row = UnifyAccuracy(
        before=first.value,
        one_shot=evaluator.measure(once, data, before).value if once is not None else None,
        after=evaluator.measure(result.model, data, before).value,
        samples=first.samples,
        metric=evaluator.name,
        share=evaluator.share,
    )
    return result.report.model_copy(update={"accuracy": row})
