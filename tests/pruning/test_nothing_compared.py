"""A proof of nothing is none, and says why."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToProve
from compressor.pruning.nothing_compared import demand_numbers
from compressor.runtime.stored import Runs
from tests.models import in_memory, model


def test_outputs_without_elements_are_told_from_those_without_numbers() -> None:
    text = "(float[0,8] x) => (float y) <float[8,16] w, float[16,4] v> { a = MatMul(x, w)  y = MatMul(a, v) }"
    with pytest.raises(NothingToProve, match=r"no output .* has any element .* \(x \[0, 8\]\)"):
        prune(in_memory(model(text)), PruneSettings(recover="none", round_to=1))
    nan = Runs(["y"], [{"x": np.zeros(2)}], [[np.full(2, np.nan)]])
    with pytest.raises(NothingToProve, match="is a finite number"):
        demand_numbers(0, nan)
    demand_numbers(1, nan)
