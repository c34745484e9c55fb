"""The flow of a fine-tuning run: load, train, verify, write; a checkpoint lies beside the output until it ends well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir

from compressor.config import SparsifySettings, TuneSettings
from compressor.core.checkpoint_folder import checkpoint_folder, folder_beside
from compressor.errors import TrainingDiverged
from compressor.graph.disk import files
from compressor.graph.disk.provenance import input_digest, stamp_provenance
from compressor.graph.ir import exporter_metadata
from compressor.pruning.proofs import proof
from compressor.pruning.proofs.graphs.interface_match import demand_teachable
from compressor.steps.provenance import training_facts
from compressor.steps.refusal import blamed_on, demand_running
from compressor.steps.refused_samples import samples_tried
from compressor.steps.run_files import as_read
from compressor.train.defaults import training_defaults
from compressor.train.finetune import TuneResult, finetune
from compressor.train.loop import checkpoint
from compressor.train.loop.fit import Observer
from compressor.train.sparsify import regularized

LAST_GOOD = "last-good.onnx"


def tune(
    model: ir.Model, settings: TuneSettings, *, teacher: ir.Model | None = None, observe: Observer | None = None
) -> TuneResult:
    """:func:`compressor.train.finetune.finetune`, towards small channels where a regularizer is named.

    Raises:
        ModelError: ONNX Runtime does not run the model.
    """
    demand_running(model, model, settings)
    if isinstance(settings, SparsifySettings) and settings.regularizer is not None:
        return regularized(model, settings, teacher=teacher, observe=observe)
    return finetune(model, settings, teacher=teacher, observe=observe)


def finetune_file(
    source: Path,
    output: Path | None,
    settings: TuneSettings,
    *,
    teacher: Path | None = None,
    tune: Callable[..., TuneResult] = tune,
    observe: Observer | None = None,
) -> TuneResult:
    """:func:`tune`, or what takes the same, from file to file, with a checkpoint beside the output.

    Without ``output`` everything is done but writing the model, and a checkpoint is kept only where the settings
    name its folder. The checkpoint is removed when the run ends well. If the loss becomes NaN or infinite, the last
    good weights are written to ``last-good.onnx`` in its folder, and no output.

    Raises:
        CompressorError: as :func:`compressor.train.finetune.finetune`,
            :func:`compressor.graph.disk.files.load_model` and ``save_model``.
    """
    model = files.load_model(source)
    original = None
    if teacher is not None:
        # Before data is opened and torch is asked: where sizes do not fit, torch would name a node and no file.
        original = files.load_model(teacher)
        demand_teachable(model, original, (str(source), str(teacher)))
    folder = folder_beside(settings.checkpoint, output)
    chosen = training_defaults(settings, model).model_copy(update={"checkpoint": folder})
    own = files.model_files(source) | (files.model_files(teacher) if teacher is not None else set())
    try:
        with checkpoint_folder(folder, resume=settings.resume), samples_tried(lambda: original or model, settings):
            result = tune(model, chosen, teacher=original, observe=observe)
    except TrainingDiverged as error:
        raise _kept(error, folder, own) from None
    # Of several processes one writes.
    if not result.main:
        return result
    if output is not None:
        if not settings.keep_metadata:
            exporter_metadata.strip_metadata(result.model)
        stamp_provenance(result.model, "finetune", settings, input_digest(result.model, source), training_facts(result))
        with blamed_on(lambda: as_read(source, settings), settings):
            files.save_model(
                result.model,
                output,
                external_data=settings.external_data,
                forbidden=own,
                check=proof.file_check(result.model, None, settings),
            )
    if folder is not None and not settings.keep_checkpoint:
        checkpoint.remove_checkpoint(folder)
    return result


def _kept(error: TrainingDiverged, folder: Path | None, own: set[Path]) -> TrainingDiverged:
    """The error, after the weights that it holds are written beside the checkpoint."""
    if folder is None or error.model is None or not folder.is_dir():
        return error
    place = folder / LAST_GOOD
    files.save_model(error.model, place, forbidden=own)
    kept = TrainingDiverged(f"{error}; they are in {place}")
    kept.model = error.model
    return kept
