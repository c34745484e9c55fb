"""Least squares from few rows and from many: one answer, whichever side the system is solved on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compressor.reconstruct.lstsq import LeastSquares
from compressor.reconstruct.moments import Moments
from compressor.reconstruct.options import ReconstructOptions
from compressor.reconstruct.ridge import ridge

UNKNOWNS, OUT = 300, 4


@pytest.mark.parametrize(
    ("rows", "wide"),
    [((90, 120), 6144), ((280, 290), 6144), ((200, 400), 6144), ((200, 400), 100)],
    ids=["few", "few of each layer", "many", "many of too wide a layer"],
)
def test_rows_and_sums_give_the_same(rows: tuple[int, int], wide: int) -> None:
    """Of two layers that share a weight, each about its own means."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((1, OUT, UNKNOWNS))
    fit = LeastSquares(matrix, 2, replace(ReconstructOptions(), wide=wide))
    inner, outer = np.zeros((1, UNKNOWNS, UNKNOWNS)), np.zeros((1, OUT, UNKNOWNS))
    for layer, count in enumerate(rows):
        x, y = rng.standard_normal((1, count, UNKNOWNS)) + layer, rng.standard_normal((1, count, OUT))
        for part in np.array_split(np.arange(count), 3):
            fit.add(layer, x[:, part], y[:, part])
        dx, dy = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
        inner, outer = inner + dx.transpose(0, 2, 1) @ dx, outer + dy.transpose(0, 2, 1) @ dx
    (found,) = fit.proposals()
    expected = ridge(matrix, inner, outer, ReconstructOptions().dampings[0])
    assert expected is not None
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-8, atol=1e-9)
    (factor,) = fit.factors()
    np.testing.assert_allclose(factor.T @ factor, fit.covariances()[0], atol=1e-8)
    np.testing.assert_allclose(fit.covariances(), inner / sum(rows), atol=1e-9)


def test_few_rows_are_never_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums are as large as the square of the unknowns."""
    monkeypatch.setattr(Moments, "_flush", lambda _: pytest.fail("summed up"))
    rng = np.random.default_rng(1)
    fit = LeastSquares(rng.standard_normal((1, OUT, UNKNOWNS)), 1, ReconstructOptions())
    fit.add(0, rng.standard_normal((1, 50, UNKNOWNS)), rng.standard_normal((1, 50, OUT)))
    assert len(list(fit.proposals())) == 1
    assert fit.factors()[0].shape == (50, UNKNOWNS)
