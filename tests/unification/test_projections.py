from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.config import BlockShape
from compressor.unification.assignment import FREE, PRUNED, UNIFIED
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.projections import Mixed
from tests.unification.cases import layouts, weight

MATRIX = Blocking(CanonicalAxes.of((3, 4), "oi"), BlockShape.parse("1x4"))


def distance(w: Any, z: Any, h: Any = 1.0) -> float:
    return float((h * (w - z) ** 2).sum())


def nearest_unified(v: Any, h: Any) -> float:
    """The least distance of a block to one with one absolute value, over all signs; the best value is a mean."""
    costs = []
    for signs in product((-1.0, 1.0), repeat=len(v)):
        a = max(0.0, float((h * v * signs).sum() / h.sum()))
        costs.append(distance(v, a * np.array(signs), h))
    return min(costs)


@pytest.mark.parametrize("weighted", [False, True])
@given(seed=st.integers(0, 1000), prune=st.integers(0, 3), unify=st.integers(0, 3))
def test_no_weight_that_satisfies_the_constraint_is_nearer(weighted: bool, seed: int, prune: int, unify: int) -> None:
    unify = min(unify, 3 - prune)
    w = weight((3, 4), seed).astype(np.float64)
    h: Any = np.random.default_rng(seed).uniform(0.1, 3, (3, 4)) if weighted else np.ones((3, 4))
    z = Mixed(MATRIX, unify / 3, prune / 3, h if weighted else None).project(w)
    costs = []
    for gone in combinations(range(3), prune):
        for shared in combinations([k for k in range(3) if k not in gone], unify):
            zeros = sum(distance(w[k], 0.0, h[k]) for k in gone)
            costs.append(zeros + sum(nearest_unified(w[k], h[k]) for k in shared))
    assert distance(w, z, h) == pytest.approx(min(costs), rel=1e-9, abs=1e-12)


@given(
    layouts(),
    st.sampled_from(((1.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4), (0.0, 1.0))),
    st.booleans(),
    st.booleans(),
)
def test_blocks_are_what_their_kind_says_and_projecting_twice_changes_nothing(
    layout: Blocking, shares: tuple[float, float], weighted: bool, double: bool
) -> None:
    w = weight(layout.view.shape, dtype=np.float64 if double else np.float32)
    h = abs(weight(layout.view.shape, 1, w.dtype)) if weighted else None
    projection = Mixed(layout, *shares, curvature=h)
    kinds, z = projection.kinds(w), projection.project(w)
    assert z.dtype == w.dtype
    assert z.shape == w.shape
    before, blocks = layout.blocks(w), layout.blocks(z)
    assert not blocks[:, kinds == PRUNED].any()
    assert np.array_equal(blocks[:, kinds == FREE], before[:, kinds == FREE])
    unified = blocks[:, kinds == UNIFIED]
    assert (abs(unified) == abs(unified[:1])).all()
    assert np.array_equal(unified < 0, before[:, kinds == UNIFIED] < 0)
    assert np.array_equal(projection.impose(z, kinds), z)
    assert np.array_equal(projection.project(z), z)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_smaller_block_at_an_edge_gets_the_mean_of_what_is_in_it(weighted: bool) -> None:
    w = np.array([[1.0, -2.0, 3.0, 5.0, -8.0]])
    h = np.array([[1.0, 1.0, 2.0, 3.0, 1.0]])
    layout = Blocking(CanonicalAxes.of((1, 5), "oi"), BlockShape.parse("1x3"))
    first, second = (9 / 4, 23 / 4) if weighted else (2.0, 6.5)
    z = Mixed(layout, curvature=h if weighted else None).project(w)
    assert z.tolist() == [[first, -first, first, second, -second]]


def test_the_sign_of_zero_is_plus() -> None:
    w = np.array([[1.0, -1.0, 0.0, -0.0]] * 3, np.float32)
    z = Mixed(MATRIX).project(w)
    assert np.array_equal(z, np.array([[0.5, -0.5, 0.5, 0.5]] * 3))


def test_the_argument_is_left_alone() -> None:
    w = weight((3, 4))
    copy = w.copy()
    for projection in (Mixed(MATRIX), Mixed(MATRIX, 0.0, 0.5)):
        projection.project(w)
    assert np.array_equal(w, copy)


@given(layouts(), st.sampled_from(((1.0, 0.0), (0.4, 0.4))), st.booleans())
def test_torch_gives_what_numpy_gives(layout: Blocking, shares: tuple[float, float], weighted: bool) -> None:
    w = weight(layout.view.shape, dtype=np.float64)
    h = abs(weight(layout.view.shape, 1, np.float64)) + 0.1 if weighted else None
    expected = Mixed(layout, *shares, curvature=h).project(w)
    tensor = torch.nn.Parameter(torch.from_numpy(w.copy()))
    found = Mixed(layout, *shares, curvature=h).project(tensor.detach())
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_every_projection_works_on_torch_tensors() -> None:
    w = weight((3, 4), dtype=np.float64)
    for projection in (
        Mixed(MATRIX),
        Mixed(MATRIX, 0.0, 0.5),
        Mixed(MATRIX, 0.4, 0.4),
    ):
        found = projection.project(torch.from_numpy(w))
        np.testing.assert_allclose(found.numpy(), projection.project(w))
