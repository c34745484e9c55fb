"""The Python interface: the same runs as the command line, on paths or models in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.commands import prune as prune_command
from compressor.commands import unify as unify_command
from compressor.commands.inspect import inspect_file
from compressor.commands.prune import PruneResult
from compressor.commands.unify import UnifyResult
from compressor.config import PruneSettings, TuneSettings, UnifySettings
from compressor.errors import GateMissed
from compressor.graph import files
from compressor.results import Report
from compressor.steps import account
from compressor.steps.gates import demand_gates

if TYPE_CHECKING:
    from compressor.train.finetune import TuneResult


def load(path: str | Path) -> ir.Model:
    """Reads a model after checking that it is sound and safe; raises ModelError."""
    return files.load_model(path)


def save(model: ir.Model, path: str | Path) -> int:
    """Writes a model whole or not at all; returns its bytes.

    Raises:
        UsageError: the place cannot be written to, or is the file that the model, or what it was made from, came from.
        ModelError: the model cannot be written.
    """
    return files.save_model(model, Path(path))


def prune(
    model: str | Path | ir.Model,
    ratio: float | None = None,
    *,
    plan: PruningPlan | None = None,
    **settings: Any,
) -> PruneResult:
    """Removes channels and everything that depends on them, and proves that the result equals the masked original.

    Args:
        model: a path, or a model from :func:`load`; not changed.
        ratio: share of the channels to remove in each group; 0.5 unless a target is given.
        plan: replay this plan (``PruneResult.plan`` of another run, or ``PruningPlan.load(path)``).
        **settings: fields of :class:`compressor.config.PruneSettings`, such as ``target_macs=0.5``,
            ``round_to=1``, ``exclude=("head*",)``.

    Returns:
        The smaller model, the plan and the report.

    Raises:
        GateMissed: the result misses ``max_drop`` or ``max_size``; it is the error's ``result``.
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.

    Example:
        >>> import compressor
        >>> result = compressor.prune("model.onnx", ratio=0.5)
        >>> compressor.save(result.model, "model.small.onnx")
    """
    chosen = PruneSettings.parse({"ratio": ratio, **settings})
    result = prune_command.prune(model, chosen, plan=plan)
    after = account.stats_in_memory(result.model, chosen)
    result.report = result.report.model_copy(update={"output": after})
    try:
        demand_gates(result.report, chosen)
    except GateMissed as missed:
        missed.result = result
        raise
    return result


def inspect(path: str | Path, **settings: Any) -> Report:
    """Groups of channels, what could be pruned, and what could not and why; see :class:`Report`."""
    return inspect_file(Path(path), PruneSettings.parse(settings))


def unify(model: str | Path | ir.Model, **settings: Any) -> UnifyResult:
    """Makes blocks of weights share one absolute value, trained where data is given, and packs them; proved bit by bit.

    Args:
        model: a path, or a model from :func:`load`; not changed.
        **settings: fields of :class:`compressor.config.UnifySettings`, such as ``block="4x4"``, ``prune_share=0.2``.

    Raises:
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    return unify_command.unify(model, UnifySettings.parse(settings))


def finetune(
    model: str | Path | ir.Model, teacher: str | Path | ir.Model | None = None, **settings: Any
) -> TuneResult:
    """Trains the weights of a model in torch and writes them back by name (extra ``tune``).

    Args:
        model: a path, or a model from :func:`load`; not changed.
        teacher: the original that is imitated; not needed with ``loss="cross-entropy"``.
        **settings: fields of :class:`compressor.config.TuneSettings`, such as ``data="train.npz"``, ``epochs=5``.

    Raises:
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    from compressor.train.finetune import finetune as train  # noqa: PLC0415 - torch is loaded for training only

    original = None if teacher is None else _opened(teacher)
    return train(_opened(model), TuneSettings.parse(settings), teacher=original)


def _opened(model: str | Path | ir.Model) -> ir.Model:
    return model if isinstance(model, ir.Model) else files.load_model(model)
