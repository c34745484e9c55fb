"""Weights of recurrent layers, gate by gate."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.operators.facts import GateProduct
from compressor.reconstruct.recurrent_layers import GateWeights
from tests.reconstruct.case import noise

PRODUCTS = {
    "both": GateProduct((0, 2)),
    "the input alone": GateProduct((2,), reads_state=False),
    "the state alone": GateProduct((1,), reads_input=False),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_is_written_is_read(name: str) -> None:
    product = PRODUCTS[name]
    weights = GateWeights(noise(2, 12, 5), noise(2, 12, 4), noise(2, 24))
    before = weights.copy()
    matrix, bias = weights.read(1, product)
    assert matrix.shape == (4 * len(product.gates), 5 * product.reads_input + 4 * product.reads_state)
    weights.write(1, product, 2 * matrix, 2 * bias)
    for found, wanted in zip(weights.read(1, product), (2 * matrix, 2 * bias), strict=True):
        assert np.allclose(found, wanted, atol=1e-6)
    others = np.setdiff1d(np.arange(12), weights.rows(product))
    assert all(np.array_equal(getattr(weights, k)[0], getattr(before, k)[0]) for k in "wrb")
    assert all(np.array_equal(getattr(weights, k)[1, others], getattr(before, k)[1, others]) for k in "wr")


def test_both_biases_are_one_for_what_reads_both() -> None:
    weights = GateWeights(noise(1, 4, 3), noise(1, 4, 4), noise(1, 8))
    assert np.allclose(weights.read(0, GateProduct((0,)))[1], weights.b[0, :4] + weights.b[0, 4:])
    assert np.array_equal(weights.read(0, GateProduct((0,), reads_state=False))[1], weights.b[0, :4])
    assert np.array_equal(weights.read(0, GateProduct((0,), reads_input=False))[1], weights.b[0, 4:])
