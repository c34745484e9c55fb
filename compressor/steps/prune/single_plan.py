"""The plan that leads from the original to the result of several steps in one, where there is such a plan."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.errors import PlanError, RuleFault
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.apply import apply_cut, cut_of
from compressor.steps import run_files
from compressor.steps.prune.pruned import Pruned
from compressor.steps.prune.run import PruningRun


def single_plan(run: PruningRun, source: ir.Model, pruned: Pruned) -> PruningPlan | None:
    """The plan that leads from the original to what all steps left in one; None where none does."""
    whole = replace(pruned.history.plan(), files=tuple(run_files.file_names(source)))
    # A replay believes every rule at first, so a plan that needed some left alone has to be tried.
    once = (pruned.history.replays and not run.distrusted) or replays(whole, source, pruned.model, run.settings)
    # A plan holds channels alone; changed layers cannot be replayed from it.
    changed = pruned.recovered is not None and pruned.recovered.changed is not None
    return whole if once and not changed else None


def replays(plan: PruningPlan, source: ir.Model, small: ir.Model, settings: PruneSettings) -> bool:
    """Does the plan of several steps lead from the original to weights of the same shapes in one?

    Not where a step could only remove what an earlier one had set free.
    """
    # Without distrusted rules, since a replay by a user begins without them too.
    analysis = analyse(source, settings)
    coupling = analysis.coupling
    try:
        cut = cut_of(plan, analysis)
        left = {name: cut.after(value) for name, value in coupling.graph.initializers.items()}
        apply_cut(analysis, cut)
    # A plan that cannot be applied in one is no reason to fail the run; there is merely no plan to write.
    except (PlanError, RuleFault):
        return False
    shapes = {name: tuple(value.shape) for name, value in small.graph.initializers.items() if value.shape is not None}
    return all(left.get(name) == shape for name, shape in shapes.items() if name in left)
