"""A proof of nothing is none, and says why."""

from __future__ import annotations

import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToProve
from tests.models import in_memory, model


def test_outputs_without_elements_are_told_from_those_without_numbers() -> None:
    text = "(float[0,8] x) => (float y) <float[8,16] w, float[16,4] v> { a = MatMul(x, w)  y = MatMul(a, v) }"
    with pytest.raises(NothingToProve, match=r"is empty \(x \[0, 8\]\) on .* export it again"):
        prune(in_memory(model(text)), PruneSettings(recover="none", round_to=1))
