"""The report of a pruning run: what was done and came of it, and what is to be said once the file is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.config import PruneSettings
from compressor.data.synthetic import Synthetic
from compressor.evaluate.stand_in import describe_samples
from compressor.pruning.proofs.outputs.evidence import together
from compressor.results import Report
from compressor.results.detail import SyntheticRow
from compressor.results.records import ChangedLayerRow
from compressor.steps import report_rows
from compressor.steps.gates import unresolved
from compressor.steps.prune.defaults import size_lags_macs
from compressor.steps.prune.judgement import Verdict
from compressor.steps.prune.losses import follows_losses, with_measured_scores
from compressor.steps.prune.lowering import zeros_in_target
from compressor.steps.prune.objective import macs_lag_time
from compressor.steps.prune.pruned import Pruned
from compressor.steps.prune.recover import BEFORE_TRAINING, Recovered, fitted_by
from compressor.steps.prune.run import PruningRun
from compressor.steps.prune.start import RunStart
from compressor.steps.run_samples import RunSamples

CHOSE = ("criterion", "scope", "objective", "structure", "lower")
"""Settings that say what chose what goes."""


def prune_report(run: PruningRun, asked: PruneSettings, start: RunStart, pruned: Pruned, verdict: Verdict) -> Report:
    """What was done, and what came of it.

    Args:
        run: what it was done with.
        asked: the settings as they were given.
        start: the original, counted, and what is to be said of the settings.
        pruned: what all steps left.
        verdict: the result beside the original.
    """
    analysis, settings = pruned.analysed.analysis, _as_done(run.settings, pruned)
    report = report_rows.report(analysis, start.before, list(pruned.rows), together(pruned.evidence), settings)
    notes = dict.fromkeys([*start.notes, *pruned.notes])
    # Training and recovery may say the same of the same samples.
    later = dict.fromkeys([*notes, *pruned.warnings, *verdict.warnings])
    return report.model_copy(
        update={
            "warnings": [*report.warnings, *later],
            "changed": _changed_rows(pruned.recovered, analysis.shapes.batch),
            "recovery": list(pruned.layers),
            "undone": list(pruned.undone),
            "settings": (given := asked.model_dump(mode="json")),
            "ran": {**_decided(given, report.settings), **_ran(settings, run, pruned)},
            "accuracy": list(verdict.accuracy),
            "outputs": verdict.outputs,
            "latency": pruned.latency,
            "synthetic": _made_up(run.samples),
            "trainability": verdict.trainability,
            "curves": list(pruned.curves),
        }
    )


def _as_done(settings: PruneSettings, pruned: Pruned) -> PruneSettings:
    """The settings with the scope that ``auto`` came to, and the recovery that was done."""
    if pruned.recovered is not None and pruned.recovered.untrained:
        settings = settings.model_copy(update={"recover": BEFORE_TRAINING})
    # The report of losses decides also where they were to be measured.
    if settings.sensitivity is not None:
        return settings.model_copy(update={"scope": "sensitivity"})
    if settings.scope != "auto":
        return settings
    return settings.model_copy(update={"scope": "loss" if pruned.by_losses else "local"})


def _decided(asked: Mapping[str, Any], done: Mapping[str, Any]) -> dict[str, Any]:
    """What the run made of settings that were left open, by name."""
    return {name: value for name, value in done.items() if value != asked[name]}


def _ran(settings: PruneSettings, run: PruningRun, pruned: Pruned) -> dict[str, Any]:
    """What chose and what recovered, where the run decided it; with the settings of the last training, if any."""
    chosen = {} if run.plan is not None else settings.model_dump(mode="json", include=set(CHOSE))
    samples, recovered = run.samples, pruned.recovered
    # Where losses were to be measured and could not be, scores stood in that need nothing measured.
    if chosen and samples is not None and not pruned.by_losses and follows_losses(run.settings, samples=True):
        chosen["criterion"] = with_measured_scores(run.settings).criterion
    read = (
        {} if samples is None else {"samples": min(settings.samples, len(samples.train)), "made_up": not samples.real}
    )
    fitted = fitted_by(settings) if pruned.layers else "none"
    trained = (
        {}
        if recovered is None or not recovered.trained
        else {"training": [{**recovered.trained, "kept": pruned.trained}]}
    )
    return {**chosen, **read, "recover": settings.recover, "fitted": fitted, **trained}


def _made_up(samples: RunSamples | None) -> SyntheticRow | None:
    """What stood in for data; None where data was given, or none was needed."""
    train = None if samples is None else samples.train
    return describe_samples(train) if isinstance(train, Synthetic) else None


def _changed_rows(recovered: Recovered | None, samples: int) -> list[ChangedLayerRow]:
    """The layers that changed; ``samples`` are those in one run."""
    changed = None if recovered is None else recovered.changed
    return [
        ChangedLayerRow(
            node=row.node,
            became=row.words,
            macs_before=round(row.before.macs / samples),
            macs_after=round(row.macs / samples),
            params_before=row.before.params,
            params_after=round(row.params),
            lowered=row.lowered,
        )
        for row in (changed.layers if changed is not None else ())
    ]


def missed_aims(report: Report, settings: PruneSettings) -> list[str]:
    """What is to be said once the file is counted: gates that cannot tell, and amounts that fall short of others."""
    return [*unresolved(report, settings), *size_lags_macs(report), *macs_lag_time(report), *zeros_in_target(report)]
