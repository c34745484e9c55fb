"""What a proof runs models on."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.graph.form.normalise import normalise
from compressor.graph.tensors import weights
from compressor.operators.sizes import infer
from compressor.pruning.proofs.runs import inputs
from compressor.pruning.proofs.runs.inputs import LOUD, Inputs
from tests.models import between, in_memory


def made() -> Inputs:
    graph = normalise(in_memory(between("b = Relu(a)")))
    return Inputs(graph, infer(graph), 0)


def test_loud_inputs_are_the_first_ones_many_times_as_large() -> None:
    found = made()
    assert found.loud is not None
    for name, array in found.loud.items():
        np.testing.assert_array_equal(array, found.first[name] * np.float32(LOUD))


def test_quiet_inputs_are_a_small_part_of_the_first_ones() -> None:
    found = made()
    assert found.quiet is not None
    for name, array in found.quiet.items():
        np.testing.assert_allclose(array, found.first[name] / LOUD, rtol=1e-6)


@pytest.mark.parametrize(("module", "limit"), [(weights, "LARGE_MODEL"), (inputs, "FAR_BUDGET")])
def test_a_run_that_costs_much_is_not_made_once_more(
    module: object, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, limit, 1)
    assert made().loud is None
