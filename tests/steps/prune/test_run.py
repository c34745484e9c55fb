"""What every step of a run is done with."""

from __future__ import annotations

import pytest

from compressor.errors import ProofFailed
from compressor.steps.prune.pruned import begin
from compressor.steps.prune.step import step
from tests.steps.prune.run_case import started


def test_a_plan_is_replayed_in_one_step() -> None:
    case = started()
    plan = step(case.run, case.run.settings, begin(case.run, case.start)).choice.plan
    assert len(list(started(steps=3).run.schedule())) == 3
    assert len(list(started(plan, steps=3).run.schedule())) == 1


def test_another_operator_is_more_than_other_weights() -> None:
    case = started()
    analysis = case.start.analysis
    other = analysis.model.clone()
    case.run.demand_only_weights(analysis, analysis.model, other)
    next(node for node in other.graph if node.op_type == "Relu").op_type = "Abs"
    with pytest.raises(ProofFailed, match=r"changed more than weights|of the recovered model"):
        case.run.demand_only_weights(analysis, analysis.model, other)


def test_without_a_full_proof_nobody_looks() -> None:
    case = started(verify=False)
    analysis = case.start.analysis
    other = analysis.model.clone()
    next(node for node in other.graph if node.op_type == "Relu").op_type = "Abs"
    case.run.demand_only_weights(analysis, analysis.model, other)
