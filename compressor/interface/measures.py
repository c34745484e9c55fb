"""Functions of the Python interface that look at models and change none; called as those of :mod:`compressor.api`."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.commands import bench as bench_command
from compressor.commands import diff as diff_command
from compressor.commands import inspect as inspect_command
from compressor.commands import robustness as robustness_command
from compressor.commands import sensitivity as sensitivity_command
from compressor.commands import verify as verify_command
from compressor.config import BenchSettings, PruneSettings, RunSettings, VerifySettings
from compressor.config.robustness import RobustnessSettings
from compressor.config.sensitivity import SensitivitySettings
from compressor.interface.call import called, with_result
from compressor.interface.keyword_arguments import settings_as_keywords
from compressor.interface.models import ModelLike
from compressor.interface.progress import ProgressLike
from compressor.results import DiffReport, Report
from compressor.results.bench import BenchReport
from compressor.results.robustness import RobustnessReport
from compressor.results.sensitivity import SensitivityReport
from compressor.results.verify import VerifyReport

if TYPE_CHECKING:
    from typing import Unpack

    from compressor.interface import keywords


@settings_as_keywords(PruneSettings)
def inspect(
    model: ModelLike,
    *,
    structures: float | None = None,
    progress: ProgressLike = None,
    **settings: Unpack[keywords.PruneKeywords],
) -> Report:
    """Groups of channels, what could be pruned, and what could not and why; see :class:`Report`.

    Args:
        model: a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; not changed.
        structures: a ratio, at which it is listed what each structure could save in each layer.
        progress: as for :func:`compressor.api.prune`.
        **settings: fields of :class:`compressor.config.PruneSettings`, such as ``dims={"batch": 1}``.

    Raises:
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    with called(PruneSettings, settings, [model], progress) as call:
        return call.told(inspect_command.inspect_file(call.paths()[0], call.settings, call.progress, structures))


def diff(a: ModelLike, b: ModelLike) -> DiffReport:
    """What differs between two models: sizes, operators, initializers, inputs and outputs; raises ModelError."""
    with called(RunSettings, {}, [a, b]) as call:
        return call.told(diff_command.diff_files(*call.paths()))


@settings_as_keywords(VerifySettings)
def verify(
    a: ModelLike, b: ModelLike, *, progress: ProgressLike = None, **settings: Unpack[keywords.VerifyKeywords]
) -> VerifyReport:
    """Runs two models on the same inputs and compares their outputs.

    Args:
        a: the model that counts, as for :func:`compressor.api.prune`.
        b: the one that is held against it.
        progress: as for :func:`compressor.api.prune`.
        **settings: fields of :class:`compressor.config.VerifySettings`, such as ``rtol=0.02``, ``data="test.npz"``.

    Raises:
        ProofFailed: an output differs by more than is allowed; the report is the error's ``result``.
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    with called(VerifySettings, settings, [a, b], progress) as call:
        first, second = call.paths()
        report = call.told(verify_command.verify(first, second, call.settings, call.progress))
        with with_result(report):
            verify_command.demand_equal(report)
        return report


@settings_as_keywords(BenchSettings)
def bench(
    a: ModelLike,
    b: ModelLike | None = None,
    *,
    progress: ProgressLike = None,
    **settings: Unpack[keywords.BenchKeywords],
) -> BenchReport:
    """Times one model, or two in turns, in ONNX Runtime.

    Args:
        a: a model, as for :func:`compressor.api.prune`.
        b: the one whose speed-up over ``a`` is measured.
        progress: as for :func:`compressor.api.prune`.
        **settings: fields of :class:`compressor.config.BenchSettings`, such as ``threads=1``, ``min_speedup=1.3``.

    Raises:
        GateMissed: ``min_speedup`` or ``max_latency`` is missed; the report is the error's ``result``.
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    with called(BenchSettings, settings, [a] if b is None else [a, b], progress) as call:
        first, *rest = call.paths()
        report = call.told(bench_command.bench(first, rest[0] if rest else None, call.settings, call.progress))
        with with_result(report):
            bench_command.demand_speed(report, call.settings)
        return report


@settings_as_keywords(SensitivitySettings)
def sensitivity(
    model: ModelLike,
    *,
    ledger: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    progress: ProgressLike = None,
    **settings: Unpack[keywords.SensitivityKeywords],
) -> SensitivityReport:
    """Prunes every group of channels alone, at several ratios, and measures what is lost.

    Args:
        model: a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; not changed.
        ledger: file of finished measurements, read and appended to; each is made once.
        executor: of ``concurrent.futures``, measures instead of ``jobs`` processes; left open.
        progress: as for :func:`compressor.api.prune`.
        **settings: fields of :class:`compressor.config.sensitivity.SensitivitySettings`. ``jobs`` is 1 unless given:
            more start processes afresh, which a script does under ``if __name__ == "__main__":``.

    Raises:
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    # One process unless more are asked for: starting others from a script without a guard would run it anew.
    with called(SensitivitySettings, {"jobs": 1, **settings}, [model], progress) as call:
        place = None if ledger is None else Path(ledger)
        found = sensitivity_command.sensitivity(
            call.paths()[0], call.settings, ledger=place, clock=call.clock, executor=executor
        )
        return call.told(found)


@settings_as_keywords(RobustnessSettings)
def robustness(
    a: ModelLike, *others: ModelLike, progress: ProgressLike = None, **settings: Unpack[keywords.RobustnessKeywords]
) -> RobustnessReport:
    """Shows an original and its compressed descendants noisy and corrupted inputs, and counts how often they agree.

    Args:
        a: the original, as for :func:`compressor.api.prune`.
        *others: what was made from it.
        progress: as for :func:`compressor.api.prune`.
        **settings: fields of :class:`compressor.config.robustness.RobustnessSettings`, such as ``data="test.npz"``.

    Raises:
        CompressorError: one of :mod:`compressor.errors`; each has an ``exit_code``.
    """
    with called(RobustnessSettings, settings, [a, *others], progress) as call:
        first, *rest = call.paths()
        return call.told(robustness_command.robustness(first, rest, call.settings, call.progress))
