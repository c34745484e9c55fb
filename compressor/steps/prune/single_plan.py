"""The plan that leads from the original to the result of several steps in one, where there is such a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.errors import PlanError, RuleFault
from compressor.pruning.analysis import analyse
from compressor.pruning.apply import apply_cut, cut_of
from compressor.steps import run_files
from compressor.steps.prune.pruned import Pruned
from compressor.steps.prune.run import PruningRun

if TYPE_CHECKING:
    pass


def single_plan(run: PruningRun, source: ir.Model, done: Pruned) -> PruningPlan | None:
    """The plan that leads from the original to what all steps left in one; None where none does."""
    whole = replace(done.history.plan(), files=tuple(run_files.file_names(source)))
    # A replay believes every rule at first, so a plan that needed some left alone has to be tried.
    once = (done.history.replays and not run.distrusted) or replays(whole, source, done.model, run.settings)
    # A plan holds channels alone; changed layers cannot be replayed from it.
    changed = done.recovered is not None and done.recovered.changed is not None
    return whole if once and not changed else None


def replays(plan: PruningPlan, source: ir.Model, small: ir.Model, settings: PruneSettings) -> bool:
    """Does the plan of several steps lead from the original to weights of the same shapes in one?

    Not where a step could only remove what an earlier one had set free.
    """
    # Without distrusted rules, since a replay by a user begins without them too.
    found = analyse(source, settings)
    coupling = found.coupling
    try:
        cut = cut_of(plan, found)
        left = {name: cut.after(value) for name, value in coupling.graph.initializers.items()}
        apply_cut(found, cut)
    # A plan that cannot be applied in one is no reason to fail the run; there is merely no plan to write.
    except (PlanError, RuleFault):
        return False
    made = {name: tuple(value.shape) for name, value in small.graph.initializers.items() if value.shape is not None}
    return all(left.get(name) == shape for name, shape in made.items() if name in left)
