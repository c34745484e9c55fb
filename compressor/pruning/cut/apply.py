"""From a plan to the smaller model: the one way there."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.plan import PruningPlan, demand_removal, units_of
from compressor.graph.form import clean
from compressor.graph.tensors.weights import seal
from compressor.pruning.cut import surgery
from compressor.pruning.cut.analysis import Analysis


def apply_plan(analysis: Analysis, plan: PruningPlan) -> ir.Model:
    """The model without what ``plan`` removes; ``analysis`` and its model stay as they are.

    Raises:
        PlanError: the plan does not fit the model.
        RuleFault: a rule does not fit a node; see :func:`compressor.pruning.cut.analysis.without_faulty_rules`.
    """
    return apply_cut(analysis, cut_of(plan, analysis))


@dataclass(frozen=True)
class CutModel:
    """A model of which channels went, beside the one that they went from.

    Attributes:
        dense: the model that was cut, analysed: what layers are fitted to.
        small: what is left of it.
        cut: what went.
    """

    dense: ir.Model
    small: ir.Model
    cut: ChannelMask


def apply_cut(analysis: Analysis, cut: ChannelMask) -> ir.Model:
    """The model without what ``cut`` removes of it; else as :func:`apply_plan`."""
    # Surgery edits in place, and the analysed model is needed again for the reference and for recovery.
    model = analysis.model.clone()
    surgery.remove(model, cut.on(model.graph))
    # Nodes that a cut made identities or duplicates are removed after it, not while it still looks up nodes by name.
    clean.tidy(model, simplify=analysis.simplify)
    # What is proved of it, what recovery starts from and what is written share these arrays.
    seal(model.graph)
    return model


def cut_of(plan: PruningPlan, analysis: Analysis) -> ChannelMask:
    """What removing the positions of a plan means for the whole graph.

    Raises:
        PlanError: it cannot be done.
        ProofFailed: it would remove something else than the plan names.
    """
    cut = ChannelMask(analysis.coupling, units_of(plan, analysis.coupling))
    cut.check()
    # Units are looked up by positions of the plan, and a unit may hold more positions than the plan names.
    demand_removal(plan, cut)
    return cut
