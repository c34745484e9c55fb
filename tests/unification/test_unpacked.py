"""Weights are computed by the runtime from a model that holds nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.unification.unpacked import unpacked
from tests.models import in_memory, model

BRANCHED = """(float[n,8] x) => (float[n,4] y) <float[8,16] w, float[16,4] v, int64 zero = {0}, int64 four = {4}> {
    i = Identity(x)  s = Shape(i)  n = Gather(s, zero)  c = Greater(n, four)
    b = If(c) <then_branch = one () => (float[n,16] p) { p = MatMul(i, w) },
               else_branch = two () => (float[n,16] q) { r = MatMul(i, w)  q = Relu(r) }>
    y = MatMul(b, v) }"""


@pytest.mark.parametrize("optimise", [True, False])
def test_what_branches_read_is_not_needed_for_weights(optimise: bool) -> None:
    source = in_memory(model(BRANCHED))
    found = unpacked(source, ["w", "v"], optimise=optimise)
    for name, array in found.items():
        tensor = source.graph.initializers[name].const_value
        assert tensor is not None
        np.testing.assert_array_equal(array, tensor.numpy())
