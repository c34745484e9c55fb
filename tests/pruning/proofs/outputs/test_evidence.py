"""A proof of nothing is none, and says why."""

from __future__ import annotations

import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToProve
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProved, demand_numbers, together, with_comparisons
from compressor.pruning.proofs.outputs.standard import DRAWN
from tests.models import in_memory, model


def test_outputs_without_elements_are_told_from_those_without_numbers() -> None:
    text = "(float[0,8] x) => (float y) <float[8,16] w, float[16,4] v> { a = MatMul(x, w)  y = MatMul(a, v) }"
    with pytest.raises(NothingToProve, match=r"is empty \(x \[0, 8\]\) on .* export it again"):
        prune(in_memory(model(text)), PruneSettings(recover="none", round_to=1))


def test_outputs_that_are_drawn_are_not_called_empty() -> None:
    drawn = Evidence(tolerance=1e-4, inputs=[{"x": [4, 8]}], not_proved=[NotProved("y", DRAWN)])
    with pytest.raises(NothingToProve, match=r"nothing of any output can be compared \('y': it is drawn at random"):
        demand_numbers(drawn)


def test_an_error_is_told_with_its_own_tolerance() -> None:
    """The one that takes most of its own is the worst, in steps and in comparisons of one step alike."""
    loose = Evidence(tolerance=1e-2, max_rel_err=2e-4, worst="loose", counts={"y": 1})
    tight = Evidence(tolerance=1e-4, max_rel_err=9e-5, worst="tight", counts={"y": 1})
    for found in (with_comparisons(loose, [tight]), with_comparisons(tight, [loose]), together([loose, tight])):
        assert found is not None
        assert (found.max_rel_err, found.tolerance, found.worst) == (9e-5, 1e-4, "tight")
