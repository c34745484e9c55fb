"""The Python interface: the same runs as the command line, on files and on models and samples in memory.

All functions are called alike: models first, settings as keywords that bear the names of the command's flags
(``--target-macs 0.5`` is ``target_macs=0.5``), and ``progress``. What ends a command with an exit code other than 0 is
raised, one of :mod:`compressor.errors`; an error of a gate or of a comparison has what missed it as its ``result``.
Functions that make a model stand here, those that only look in :mod:`compressor.interface.measures`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.commands import choose_blocks
from compressor.commands import clean as clean_command
from compressor.commands import prune as prune_command
from compressor.commands import quantize as quantize_command
from compressor.commands import unify as unify_command
from compressor.commands.clean import CleanResult
from compressor.commands.quantize import QuantizeResult
from compressor.commands.unify import UnifyResult
from compressor.config import (
    CleanSettings,
    PruneSettings,
    SparsifySettings,
    UnifySettings,
)
from compressor.config.choosing import ChoosingSettings
from compressor.config.quantize import QuantizeSettings
from compressor.errors import UsageError
from compressor.graph.disk import files
from compressor.graph.disk.before import before_writing
from compressor.graph.disk.model_result import ModelResult
from compressor.graph.disk.provenance import input_digest, stamp_provenance
from compressor.interface.call import called, with_result
from compressor.interface.keyword_arguments import settings_as_keywords
from compressor.interface.models import ModelLike, in_memory, no_model
from compressor.interface.progress import ProgressLike, progress_shown
from compressor.render.card import write_card
from compressor.results.recipe import RecipeReport
from compressor.results.records import GateRow
from compressor.steps import counts
from compressor.steps.gates import demand_gates, judged
from compressor.steps.provenance import training_facts
from compressor.steps.prune.result import PruneResult
from compressor.steps.quantize import put_quantized
from compressor.steps.unify import put_unified

if TYPE_CHECKING:
    from typing import Unpack

    from compressor.interface import keywords
    from compressor.train.finetune import TuneResult


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Reads a model after checking that it is sound and safe; raises ModelError."""
    return files.load_model(Path(path))


def save(
    result: ir.Model | ModelResult,
    path: str | os.PathLike[str],
    *,
    card: str | os.PathLike[str] | None = None,
) -> int:
    """Writes a model, or the model of a result, whole or not at all, and so with its card; returns its bytes.

    Args:
        result: what a function of this module gave, or a model.
        path: the file to write; replaced if it exists.
        card: also write a model card in Markdown there; of results with a report.

    Raises:
        UsageError: the place cannot be written to, or is the file that the model, or what it was made from, came from;
            or ``result`` is neither.
        ModelError: the model cannot be written.
    """
    if not isinstance(result, (ir.Model, ModelResult)):
        raise no_model(result, "an onnx_ir.Model, or what prune, unify, finetune, quantize or clean gave")
    report = getattr(result, "report", None)
    if card is not None and report is None:
        raise UsageError("a card tells of a run: give the result of prune, unify or clean, not its model alone")
    with before_writing(*([], []) if card is None else ([Path(path)], [Path(card)])):
        size = files.save_model(result, Path(path)) if isinstance(result, ir.Model) else result.save(path)
        if card is not None and report is not None:
            write_card(Path(card), Path(path), report)
    return size


@settings_as_keywords(PruneSettings)
def prune(
    model: ModelLike,
    ratio: float | str | None = None,
    *,
    plan: PruningPlan | str | os.PathLike[str] | Mapping[str, Any] | None = None,
    progress: ProgressLike = None,
    **settings: Unpack[keywords.PruneKeywords],
) -> PruneResult:
    """Removes channels and everything that depends on them, and proves that the result equals the masked original.

    Args:
        model: a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; not changed.
        ratio: share of the channels to remove in each group; 0.5 unless a target is given.
        plan: replay this plan: ``PruneResult.plan`` of another run, its JSON as text or dict, or a path.
        progress: what to call with the name of each phase; True to print it; by default shown in notebooks.
        **settings: fields of :class:`compressor.config.PruneSettings`, such as ``target_macs=0.5``,
            ``round_to=1``, ``exclude=("head*",)``, ``data=loader``.

    Returns:
        The smaller model, the plan and the report.

    Raises:
        GateMissed: the result misses ``max_drop``, ``max_distance`` or ``max_size``; it is the error's ``result``.
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.

    Example:
        >>> import compressor
        >>> result = compressor.prune("model.onnx", ratio=0.5)
        >>> compressor.save(result, "model.small.onnx")
    """
    with called(PruneSettings, {"ratio": ratio, **settings}, [model], progress) as call:
        replayed = None if plan is None else PruningPlan.of(plan)
        result = prune_command.prune(_direct(call.models[0]), call.settings, plan=replayed, clock=call.clock)
        after = counts.stats_in_memory(result.model, call.settings, inputs=result.inputs)
        result.report = call.told(judged(result.report.model_copy(update={"output": after}), call.settings))
        with with_result(result):
            demand_gates(result.report, call.settings)
        return result


@settings_as_keywords(ChoosingSettings)
def unify(
    model: ModelLike, *, progress: ProgressLike = None, **settings: Unpack[keywords.UnifyKeywords]
) -> UnifyResult:
    """Makes blocks of weights share one absolute value, trained where data is given, and packs them; proved bit by bit.

    Args:
        model: a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; not changed.
        progress: as for :func:`prune`.
        **settings: fields of :class:`compressor.config.choosing.ChoosingSettings`, such as ``block="4x4"``,
            ``prune_share=0.2``; with ``max_drop``, ``max_distance`` or ``target_size``, blocks are chosen by layer.

    Raises:
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    with called(ChoosingSettings, {"jobs": 1, **settings}, [model], progress) as call:
        asked, clock = call.settings, call.clock
        chosen: UnifySettings = asked
        gates: list[GateRow] = []
        if asked.chooses:
            blocks = choose_blocks.choose(call.paths()[0], asked, clock=clock)
            chosen, gates = blocks.plan.applied(asked), blocks.gates
        result = unify_command.unify(_direct(call.models[0]), chosen, clock=clock)
        after = put_unified(result.model, None, call.settings, None, result.report.input)
        result.report = call.told(result.report.model_copy(update={"output": after, "gates": gates}))
        return result


@settings_as_keywords(SparsifySettings)
def finetune(
    model: ModelLike,
    teacher: ModelLike | None = None,
    *,
    progress: ProgressLike = None,
    **settings: Unpack[keywords.TuneKeywords],
) -> TuneResult:
    """Trains the weights of a model in torch and writes them back by name (extra ``tune``).

    Args:
        model: a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; not changed.
        teacher: the original that is imitated, of the same kinds; not needed with ``loss="cross-entropy"``.
        progress: as for :func:`prune`; hears of epochs.
        **settings: fields of :class:`compressor.config.SparsifySettings`, such as ``data="train.npz"``, ``epochs=5``;
            with ``regularizer="iss"``, channels become small, so that a later cut costs less.

    Raises:
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    from compressor.commands.finetune import tune  # noqa: PLC0415 - torch is loaded for training only
    from compressor.train.defaults import training_defaults  # noqa: PLC0415 - as above

    models = [model] if teacher is None else [model, teacher]
    with called(SparsifySettings, settings, models, progress) as call:
        tell = call.progress
        opened = [in_memory(one, call.folder / "opened.onnx") for one in call.models]
        observe = None if tell is None else lambda event: tell(event.in_words())
        original = opened[1] if len(opened) > 1 else None
        # As on the command line: what is not given follows from the model.
        chosen = training_defaults(call.settings, opened[0])
        result = tune(opened[0], chosen, teacher=original, observe=observe)
        result.warnings += result.caveats
        digest = input_digest(result.model, call.models[0])
        stamp_provenance(result.model, "finetune", call.settings, digest, training_facts(result))
        return result


@settings_as_keywords(QuantizeSettings)
def quantize(
    model: ModelLike, *, progress: ProgressLike = None, **settings: Unpack[keywords.QuantizeKeywords]
) -> QuantizeResult:
    """Stores weights in 8 or 4 bits, and computes with activations in 8, by ONNX Runtime's own quantiser.

    Args:
        model: a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; not changed.
        progress: as for :func:`prune`.
        **settings: fields of :class:`compressor.config.quantize.QuantizeSettings`, such as ``mode="dynamic"``.

    Raises:
        GateMissed: the result misses ``max_drop``, ``max_size`` or ``max_distance``; it is the error's ``result``.
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    with called(QuantizeSettings, settings, [model], progress) as call:
        given = _direct(call.models[0])
        result = quantize_command.quantize(given, call.settings, clock=call.clock)
        stats = put_quantized(result.model, None, None, call.settings, result.report.input)
        result.report = call.told(judged(result.report.model_copy(update={"output": stats}), call.settings))
        with with_result(result):
            demand_gates(result.report, call.settings)
        return result


@settings_as_keywords(CleanSettings)
def clean(
    model: ModelLike, *, progress: ProgressLike = None, **settings: Unpack[keywords.CleanKeywords]
) -> CleanResult:
    """Removes what the outputs do not need, and nothing else; proves that no output changed.

    Args:
        model: a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; not changed.
        progress: as for :func:`prune`.
        **settings: fields of :class:`compressor.config.CleanSettings`.

    Raises:
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    with called(CleanSettings, settings, [model], progress) as call:
        result = clean_command.clean_model(_direct(call.models[0]), call.settings, call.clock)
        after = counts.stats_in_memory(result.model, call.settings)
        result.report = call.told(result.report.model_copy(update={"output": after}))
        return result


def run(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    *,
    changes: Iterable[str] = (),
    work: str | os.PathLike[str] | None = None,
    start: str | None = None,
    dry_run: bool = False,
    progress: ProgressLike = None,
) -> RecipeReport:
    """Runs the stages of a recipe; what had finished with the same inputs and settings is not run again.

    Args:
        recipe: a YAML file, whose paths are relative to its folder; or the same as a mapping, whose paths are relative
            to the current folder.
        changes: ``KEY=VALUE`` or ``STAGE.KEY=VALUE``, as if the recipe said so.
        work: where results of stages are kept; by default ``.onnx-compressor`` beside the output.
        start: run this stage and all after it again, even if they had finished.
        dry_run: only say which stages would run.
        progress: as for :func:`prune`.

    Raises:
        GateMissed, ProofFailed: a stage or the recipe misses a limit; the report is the error's ``result``.
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    from compressor.interface.recipes import recipe_from_python  # noqa: PLC0415 - recipes are read by few

    with progress_shown(progress) as tell:
        return recipe_from_python(recipe, tuple(changes), None if work is None else Path(work), start, dry_run, tell)


def _direct(model: ModelLike) -> str | Path | ir.Model:
    """A model of a call, which is a path or in memory by now."""
    assert isinstance(model, (str, Path, ir.Model))
    return model
