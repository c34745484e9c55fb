"""What a sensitivity run measures: every group cut alone, and how its rows follow from how far outputs move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling
from compressor.channels.plan import PruningPlan, units_of
from compressor.config import AMOUNTS
from compressor.config.sensitivity import MAX_DISTANCE, MAX_DROP, SensitivitySettings
from compressor.data import Dataset
from compressor.errors import NothingToPrune
from compressor.experiments.change import ReferenceOutputs
from compressor.experiments.limits import Limits
from compressor.experiments.run import Experiment, Trial, Variant
from compressor.graph.disk import files
from compressor.metrics.evaluator import Evaluator
from compressor.pruning.budgets.cost import CostModel
from compressor.pruning.budgets.select import Choice, choose_channels
from compressor.pruning.cut.analysis import Analysis, analyse
from compressor.pruning.cut.apply import apply_plan
from compressor.results.sensitivity import GroupSensitivity, OutputChange, Point
from compressor.steps import report_rows, run_files
from compressor.steps.score import measure_for_criterion


@dataclass(frozen=True)
class PrunedFile:
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
        analysis = analyse(run_files.open_source(self.source, settings)[0], settings)
        return lambda text: apply_plan(analysis, PruningPlan.from_json(text))


@dataclass(frozen=True)
class GroupCut:
    """One group at one ratio: what it loses, what is left of the model's cost, and the plan that does it."""

    group: str
    channels: int
    removed: int
    macs: float
    params: float
    plan: PruningPlan

    def trial(self) -> Trial:
        """What has to be measured for it."""
        return Trial(f"{self.group} without {self.removed} of {self.channels} channels", self.plan.to_json())


def experiment_on(source: Path, settings: SensitivitySettings, reference: ReferenceOutputs) -> Experiment:
    """Cuts of a file, held against what the file itself gives."""
    digest = files.digest(files.model_files(source))
    return Experiment(PrunedFile(source, settings.model_dump_json()), reference, digest)


def limits_of(settings: SensitivitySettings, samples: Dataset) -> Limits:
    """What was asked for, or a default that fits the data."""
    evaluator = Evaluator.of(settings)
    limits = Limits(settings.max_drop, settings.max_distance, evaluator)
    if settings.max_drop is None and settings.max_distance is None:
        if evaluator.measures(samples):
            return replace(limits, max_drop=MAX_DROP)
        return replace(limits, max_distance=MAX_DISTANCE)
    limits.check(samples)
    return limits


def cuts_of_groups(analysis: Analysis, settings: SensitivitySettings, size: int, samples: Dataset) -> list[GroupCut]:
    """Each group at each ratio, in the order of the groups; ratios that remove the same are one.

    Amounts that fall on one group do not depend on the others, so one choice for all groups serves them all.

    Raises:
        NothingToPrune: no group loses a channel at any ratio.
    """
    measured = measure_for_criterion(analysis, settings, samples)
    cuts: dict[tuple[str, tuple[int, ...]], GroupCut] = {}
    nothing: NothingToPrune | None = None
    for ratio in settings.ratios:
        # Local and without a maximum: each group is to be seen at every ratio asked for.
        uniform = {**dict.fromkeys(AMOUNTS), "ratio": ratio, "scope": "local", "max_ratio": 1.0}
        try:
            choice = choose_channels(analysis.coupling, settings.model_copy(update=uniform), size, None, measured)
        except NothingToPrune as error:
            nothing = error
            continue
        # Ratios that round to the same channels are measured once.
        cuts |= {(cut.group, cut.plan.removals[0].indices): cut for cut in _alone(analysis.coupling, choice)}
    if nothing is not None and not cuts:
        raise nothing
    order = {name: place for place, name in enumerate(dict.fromkeys(group for group, _ in cuts))}
    return sorted(cuts.values(), key=lambda cut: (order[cut.group], cut.removed))


def _alone(coupling: Coupling, choice: Choice) -> Iterator[GroupCut]:
    """What a choice removes, group by group."""
    cost = CostModel(coupling)
    for removal in choice.plan.removals:
        plan = PruningPlan((removal,), choice.plan.policy)
        units = units_of(plan, coupling)
        rows = report_rows.group_rows(choice.groups, ChannelMask(coupling, units))
        row = next(row for row in rows if row.name == removal.group)
        macs, params = cost.macs_after(units) / max(1, cost.macs), cost.params_after(units) / max(1, cost.params)
        yield GroupCut(row.name, row.channels, row.removed, macs, params, plan)


def prunable_rows(
    cuts: Sequence[GroupCut], changes: Sequence[OutputChange], limits: Limits, accuracy: float | None
) -> list[GroupSensitivity]:
    """What each group may lose.

    Args:
        cuts: by group, from few channels to many.
        changes: what each of them changed.
        limits: up to which a cut is safe.
        accuracy: of the original; None where it was not measured.
    """
    points: dict[tuple[str, int], list[Point]] = {}
    safe: dict[str, int] = {}
    stopped: set[str] = set()
    for cut, change in zip(cuts, changes, strict=True):
        point = Point(**change.model_dump(), removed=cut.removed, macs=cut.macs, params=cut.params)
        points.setdefault((cut.group, cut.channels), []).append(point)
        if not limits.allow(change, accuracy):
            stopped.add(cut.group)
        # Safe is what lies before the first ratio that exceeds a limit, even if a later one is within it by chance.
        elif cut.group not in stopped:
            safe[cut.group] = cut.removed
    return [
        GroupSensitivity(name=name, channels=channels, points=group_points, safe=safe.get(name, 0))
        for (name, channels), group_points in points.items()
    ]
