"""The whole flow of a pruning run: load, analyse, choose, cut, recover, report; every change is proved.

``step`` chooses, trains towards the choice where that is asked for, cuts, proves, recovers and proves again; with
``--steps`` there are several, and ``Pruned`` is what they leave together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.core.threads import blas_threads_for
from compressor.graph.ir.edit import copy_of
from compressor.graph.tensors.weights import weight_shapes
from compressor.metrics.evaluator import demand_metric
from compressor.pruning.cut.analysis import without_faulty_rules
from compressor.steps.prune.conclude import bytes_to_spare, conclude, held_to_size
from compressor.steps.prune.judgement import ResultJudge
from compressor.steps.prune.pruned import begin, finish
from compressor.steps.prune.request import PruneRequest
from compressor.steps.prune.result import PruneResult
from compressor.steps.prune.run import PruningRun
from compressor.steps.prune.start import start_run
from compressor.steps.prune.step import step
from compressor.steps.refusal import blamed_on
from compressor.steps.refused_samples import samples_tried


def prune(
    model: str | Path | ir.Model,
    settings: PruneSettings,
    *,
    plan: PruningPlan | None = None,
    clock: Clock | None = None,
) -> PruneResult:
    """Removes channels from ``model`` and proves that removal equals masking.

    Args:
        model: a path, or a model in memory (not changed).
        settings: how much, which, and how it is proved.
        plan: replays this plan instead of choosing.
        clock: receives the time of each phase.

    Raises:
        CompressorError: one of :mod:`compressor.errors`, each with its exit code.
    """
    clock = clock or Clock()
    # Before any work: made-up samples would be drawn first, and their failure is no error where nobody asked.
    if settings.data is None and settings.val_data is None:
        demand_metric(settings, None, settings.max_drop)
    with clock.phase("load"):
        request = PruneRequest.of(model, settings, plan)
    # And before a model is analysed and samples are tried on it, which takes long.
    if request.samples is not None:
        demand_metric(request.settings, request.samples.valid, request.settings.max_drop)
    # The whole run starts over, since a distrusted node may change every choice before the one that failed.
    with (
        blas_threads_for(weight_shapes(request.model)),
        blamed_on(lambda: (request.given, request.model), settings),
        samples_tried(lambda: request.model, settings),
    ):
        return without_faulty_rules(lambda distrusted: _prune(request, clock, distrusted))


def _prune(request: PruneRequest, clock: Clock, distrusted: Mapping[str, str]) -> PruneResult:
    """:func:`prune` without the rules of the nodes that are ``distrusted``."""
    # How many samples it takes at a time is noted on the model, and each try finds that out, and says so.
    given, request = request, replace(request, model=copy_of(request.model))
    start = start_run(request, distrusted, clock)
    judge = ResultJudge(start.source, start.settings, start.samples, clock)
    run = PruningRun.of(request, start, distrusted, clock)
    pruned = begin(run, start)
    for settings in run.schedule():
        pruned = pruned.after(step(run, settings, pruned))
    result = conclude(run, request, start, finish(run, pruned), judge)
    if spare := bytes_to_spare(run, request, result):
        return _prune(replace(given, spare=spare), clock, distrusted)
    return held_to_size(run, request, result)
