"""What each group of channels costs: every group pruned alone at several ratios, and how far the outputs move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling
from compressor.channels.plan import PruningPlan, units_of
from compressor.config import AMOUNTS
from compressor.config.sensitivity import MAX_DISTANCE, MAX_DROP, SensitivitySettings
from compressor.core.atomic import write_text
from compressor.core.clock import Clock, Progress
from compressor.core.machine import cores
from compressor.core.scratch import scratch
from compressor.data import Dataset
from compressor.data.synthetic import Synthetic
from compressor.errors import NothingToPrune
from compressor.evaluate.stand_in import describe_samples
from compressor.experiments.change import ReferenceOutputs, open_samples
from compressor.experiments.ledger import Ledger
from compressor.experiments.limits import Limits
from compressor.experiments.run import Experiment, Trial, Variant, run_trials
from compressor.experiments.workers import workers_of
from compressor.graph import files
from compressor.metrics.evaluator import Evaluator
from compressor.operators.table import RULES
from compressor.pruning.analysis import Analysis, analyse
from compressor.pruning.apply import apply_plan
from compressor.pruning.cost import CostModel
from compressor.pruning.matching import demand_matches
from compressor.pruning.select import Choice, choose_channels
from compressor.results.sensitivity import GroupSensitivity, OutputChange, Point, SensitivityReport
from compressor.steps import account
from compressor.steps.score import measure_for_criterion


@dataclass(frozen=True)
class Pruned:
    """A model file that loses what a plan says.

    Attributes:
        source: the file.
        settings: of the run, as JSON.
    """

    source: Path
    settings: str

    def open(self) -> Variant:
        """Loads the file; the variant of a plan, as JSON, is the model without what it names."""
        # Once in every process; plans then cost a cut each.
        settings = SensitivitySettings.model_validate_json(self.settings)
        found = analyse(account.open_source(self.source, settings)[0], settings)
        return lambda text: apply_plan(found, PruningPlan.from_json(text))


@dataclass(frozen=True)
class _Step:
    """One group at one ratio: what it loses, what is left of the model's cost, and the plan that does it."""

    group: str
    channels: int
    removed: int
    macs: float
    params: float
    plan: PruningPlan


def sensitivity(
    source: Path,
    settings: SensitivitySettings,
    *,
    ledger: Path | None = None,
    clock: Clock | None = None,
    executor: Executor | None = None,
) -> SensitivityReport:
    """Prunes every group alone at every ratio, and measures what the outputs lose.

    Processes are started afresh, so a script calls this under ``if __name__ == "__main__":``, or with ``jobs=1``.

    Args:
        source: the model file; not changed.
        settings: ratios, criterion, samples, limits.
        ledger: file of finished measurements, read and appended to; they are made once.
        clock: receives the time of each phase.
        executor: measures, instead of processes or the cluster of the settings.

    Raises:
        CompressorError: one of :mod:`compressor.errors`, each with its exit code.
    """
    clock = clock or Clock()
    with clock.phase("load"):
        model, size = account.open_source(source, settings)
        samples = open_samples(model, settings)
        limits = _limits(settings, samples)
        known = Ledger(ledger)
    with clock.phase("analyse"):
        found = analyse(model, settings)
        demand_matches(settings, model, found.model)
        before = account.stats_of(model, found, size, source)
    with clock.phase("choose"):
        steps = _steps(found, settings, size, samples)
    with scratch() as folder:
        with clock.phase("reference"):
            reference = ReferenceOutputs.make(model, samples, settings, Path(folder))
        with clock.phase("measure"):
            experiment = Experiment(
                Pruned(source, settings.model_dump_json()), reference, files.digest(files.model_files(source))
            )
            trials = [Trial(f"{s.group} without {s.removed} of {s.channels} channels", s.plan.to_json()) for s in steps]
            remembered = sum(experiment.key(trial) in known for trial in trials)
            with workers_of(settings, executor) as workers:
                changes = run_trials(experiment, trials, known, workers, clock.tell)
    return SensitivityReport(
        input=before,
        groups=_groups(steps, changes, limits, reference.accuracy),
        accuracy=reference.accuracy,
        metric=reference.evaluator.name,
        share=reference.evaluator.share,
        samples=reference.samples,
        synthetic=describe_samples(samples) if isinstance(samples, Synthetic) else None,
        limit=str(limits),
        measured=len(trials) - remembered,
        remembered=remembered,
        jobs=min(settings.jobs or cores(), max(1, len(trials) - remembered)),
        seconds=clock.seconds,
        settings=settings.model_dump(mode="json"),
    )


def sensitivity_file(
    source: Path, output: Path, settings: SensitivitySettings, progress: Progress | None = None
) -> SensitivityReport:
    """:func:`sensitivity` that writes its report to ``output``, and every measurement to ``output`` + ``l`` at once.

    A run that was interrupted goes on where it was.
    """
    report = sensitivity(source, settings, ledger=ledger_of(output), clock=Clock(progress))
    write_text(output, report.to_json())
    return report


def ledger_of(output: Path) -> Path:
    """Where the measurements of a report are remembered: ``sens.json`` and ``sens.jsonl``."""
    return output.with_suffix(".jsonl") if output.suffix == ".json" else output.with_name(output.name + ".jsonl")


def _limits(settings: SensitivitySettings, samples: Dataset) -> Limits:
    """What was asked for, or a default that fits the data."""
    evaluator = Evaluator.of(settings)
    limits = Limits(settings.max_drop, settings.max_distance, evaluator)
    if settings.max_drop is None and settings.max_distance is None:
        if evaluator.measures(samples):
            return replace(limits, max_drop=MAX_DROP)
        return replace(limits, max_distance=MAX_DISTANCE)
    limits.check(samples)
    return limits


def _steps(found: Analysis, settings: SensitivitySettings, size: int, samples: Dataset) -> list[_Step]:
    """Each group at each ratio, in the order of the groups; ratios that remove the same are one.

    Amounts that fall on one group do not depend on the others, so one choice for all groups serves them all.

    Raises:
        NothingToPrune: no group loses a channel at any ratio.
    """
    measured = measure_for_criterion(found, settings, samples)
    steps: dict[tuple[str, tuple[int, ...]], _Step] = {}
    nothing: NothingToPrune | None = None
    for ratio in settings.ratios:
        # Local and without a maximum: each group is to be seen at every ratio asked for.
        uniform = {**dict.fromkeys(AMOUNTS), "ratio": ratio, "scope": "local", "max_ratio": 1.0}
        try:
            choice = choose_channels(found.coupling, settings.model_copy(update=uniform), RULES, size, None, measured)
        except NothingToPrune as error:
            nothing = error
            continue
        # Ratios that round to the same channels are measured once.
        steps |= {(step.group, step.plan.removals[0].indices): step for step in _alone(found.coupling, choice)}
    if nothing is not None and not steps:
        raise nothing
    order = {name: place for place, name in enumerate(dict.fromkeys(group for group, _ in steps))}
    return sorted(steps.values(), key=lambda step: (order[step.group], step.removed))


def _alone(coupling: Coupling, choice: Choice) -> Iterator[_Step]:
    """What a choice removes, group by group."""
    cost = CostModel(coupling, coupling.shapes, RULES)
    for removal in choice.plan.removals:
        plan = PruningPlan((removal,), choice.plan.policy)
        units = units_of(plan, coupling)
        rows = account.group_rows(choice.groups, ChannelMask(coupling, units))
        row = next(row for row in rows if row.name == removal.group)
        macs, params = cost.macs_after(units) / max(1, cost.macs), cost.params_after(units) / max(1, cost.params)
        yield _Step(row.name, row.channels, row.removed, macs, params, plan)


def _groups(
    steps: Sequence[_Step], changes: Sequence[OutputChange], limits: Limits, accuracy: float | None
) -> list[GroupSensitivity]:
    points: dict[tuple[str, int], list[Point]] = {}
    safe: dict[str, int] = {}
    stopped: set[str] = set()
    for step, change in zip(steps, changes, strict=True):
        point = Point(**change.model_dump(), removed=step.removed, macs=step.macs, params=step.params)
        points.setdefault((step.group, step.channels), []).append(point)
        if not limits.allow(change, accuracy):
            stopped.add(step.group)
        # Safe is what lies before the first ratio that exceeds a limit, even if a later one is within it by chance.
        elif step.group not in stopped:
            safe[step.group] = step.removed
    return [
        GroupSensitivity(name=name, channels=channels, points=found, safe=safe.get(name, 0))
        for (name, channels), found in points.items()
    ]
