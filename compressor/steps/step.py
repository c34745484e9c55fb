"""One step of pruning: what to remove, removing it, and the proof; and whether several steps are one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.channel_mask import Cut
from compressor.channels.groups import group
from compressor.channels.plan import PruningPlan, demand_removal, units_of
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.errors import NothingToPrune, PlanError, ProofFailed
from compressor.graph import clean
from compressor.operators.table import RULES
from compressor.pruning import proof, surgery
from compressor.pruning.analysis import Analysis, analyse, audit
from compressor.pruning.budget import Origin
from compressor.pruning.by_loss import choose_by_loss
from compressor.pruning.lossless import lossless_plan
from compressor.pruning.nonfinite import in_activations
from compressor.pruning.proof import Evidence
from compressor.pruning.select import Choice, choose_by_scores, ranked
from compressor.steps import account
from compressor.steps.losses import Losses, scored
from compressor.steps.recover import Samples
from compressor.steps.score import measure

if TYPE_CHECKING:
    from compressor.latency import LatencyTarget


def replayed(plan: PruningPlan, found: Analysis) -> Choice:
    """The choice that a plan is."""
    return Choice(plan, group(found.coupling), None)


def cut_of(plan: PruningPlan, found: Analysis) -> Cut:
    """What removing the positions of a plan means for the whole graph; raises PlanError where it cannot be done."""
    cut = Cut(found.coupling, units_of(plan, found.coupling))
    cut.check()
    demand_removal(plan, cut)
    return cut


@contextmanager
def explained(found: Analysis) -> Iterator[None]:
    """Gives the reasons along where nothing can be pruned."""
    try:
        yield
    except NothingToPrune as nothing:
        nothing.frozen = tuple(account.frozen_rows(found))
        raise


def replays(
    plan: PruningPlan, source: ir.Model, small: ir.Model, settings: PruneSettings, distrusted: Mapping[str, str]
) -> bool:
    """Does the plan of several steps lead from the original to weights of the same shapes in one?

    Not where a step could only remove what an earlier one had set free.
    """
    found = analyse(source, settings, distrusted)
    coupling = found.coupling
    try:
        cut = cut_of(plan, found)
        left = {name: cut.after(value) for name, value in coupling.graph.initializers.items()}
    except PlanError:
        return False
    made = {name: tuple(value.shape) for name, value in small.graph.initializers.items() if value.shape is not None}
    return all(left.get(name) == shape for name, shape in made.items() if name in left)


@dataclass(frozen=True)
class Means:
    """What choices are made with.

    Attributes:
        samples: where a criterion may measure; None where nothing is read.
        losses: what measures loss curves, where groups lose by them.
        aim: the latency that is asked for, if one is.
    """

    samples: Samples | None
    losses: Losses | None
    aim: LatencyTarget | None


def chosen(
    found: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means
) -> Choice:
    """What a step removes: what cannot matter, what a latency needs, or what a ratio or another target asks for.

    Args:
        found: the model as it is before the step.
        settings: of the step.
        origin: costs of the model before the first step; None in the first.
        size: bytes of the file.
        means: what to measure on, and a latency.
    """
    if settings.lossless:
        spoilt = in_activations(found, settings.seed, settings.provider)
        return Choice(*lossless_plan(found.coupling, settings, RULES, spoilt), origin)
    by = settings if means.losses is None else scored(settings)
    measured = measure(found, by, means.samples.train if means.samples is not None else None)
    ranking = ranked(found.coupling, by, size, origin, measured)
    curves, share = None, None
    if means.losses is not None:
        curves = means.losses.curves(found, ranking.scores, must=means.samples is None or means.samples.asked)
        share = means.losses.share(found, ranking, settings)
    if means.aim is not None:
        return means.aim.choose(found, settings, ranking, curves)
    if curves is not None:
        return choose_by_loss(found, settings, ranking, curves, share)
    return choose_by_scores(found.coupling, settings, RULES, ranking)


def removed(found: Analysis, cut: Cut, settings: PruneSettings, clock: Clock) -> list[Evidence]:
    """Removes what ``cut`` says from the analysed model, and proves that removal equals masking.

    Raises:
        ProofFailed: it does not.
        RuleFault: a rule is to blame; see :func:`compressor.pruning.analysis.believing`.
    """
    with clock.phase("prove"):
        expected = _expect(found, cut, settings) if settings.verify else None
    with clock.phase("cut"):
        surgery.remove(found.model, cut, RULES)
        clean.tidy(found.model, simplify=settings.simplify)
    with clock.phase("prove"):
        if expected is None:
            audit(found, settings)
            return []
        try:
            return [proof.confirm(expected, found.model, settings)]
        except ProofFailed:
            audit(found, settings)
            raise


def _expect(found: Analysis, cut: Cut, settings: PruneSettings) -> proof.Expected:
    """Runs the masked original; where nothing that counts may go, the original itself."""
    if settings.lossless:
        return proof.expect(found.model, None, found.shapes, settings)
    expected = proof.expect(*surgery.mask(found.model, cut, RULES), found.shapes, settings)
    if proof.finite(expected):
        return expected
    return proof.expect(*surgery.mask(found.model, cut, RULES, thorough=True), found.shapes, settings)
