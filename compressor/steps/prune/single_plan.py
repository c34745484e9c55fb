"""The plan that leads from the original to the result of several steps in one, where there is such a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.errors import PlanError, RuleFault
from compressor.pruning.analysis import analyse
from compressor.pruning.apply import apply_cut, cut_of

if TYPE_CHECKING:
    pass


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
