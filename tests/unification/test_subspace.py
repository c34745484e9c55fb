"""The subspace of blocks with fixed kinds and signs: linear, exact, and what is trained is one number a block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.unification.assignment import FREE, PRUNED, UNIFIED
from compressor.unification.layout import Blocking
from compressor.unification.measure import satisfied
from compressor.unification.subspace import Subspace
from tests.unification.cases import layouts, weight


def case(layout: Blocking, seed: int, dtype: Any = np.float64) -> tuple[Any, Any, Subspace]:
    w = weight(layout.view.shape, seed, dtype)
    kinds = np.random.default_rng(seed).choice([PRUNED, UNIFIED, UNIFIED, FREE], layout.count).astype(np.uint8)
    return w, kinds, Subspace(layout, kinds, w)


@given(layout=layouts(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_it_is_the_orthogonal_projection_onto_signs_times_numbers(layout: Blocking, seed: int) -> None:
    w, kinds, subspace = case(layout, seed)
    v = weight(layout.view.shape, seed + 1, np.float64)
    signs, blocks = np.where(layout.blocks(w) < 0, -1.0, 1.0), layout.blocks(v)
    mean = np.average(signs * blocks, axis=0, weights=layout.present)
    expected = np.where(kinds == FREE, blocks, np.where(kinds == UNIFIED, signs * mean, 0))
    found = subspace.project(v)
    np.testing.assert_allclose(layout.blocks(found), expected, atol=1e-12)


@given(layout=layouts(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_what_is_in_it_stays_to_the_last_bit(layout: Blocking, seed: int) -> None:
    w, kinds, subspace = case(layout, seed, np.float32)
    z = subspace.project(w)
    assert satisfied(z, w, layout, kinds)
    assert np.array_equal(subspace.project(z), z)


@given(layout=layouts(), seed=st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_torch_does_the_same(layout: Blocking, seed: int) -> None:
    torch = pytest.importorskip("torch")
    w, kinds, subspace = case(layout, seed)
    v = weight(layout.view.shape, seed + 1, np.float64)
    found = Subspace(layout, kinds, torch.from_numpy(w)).project(torch.from_numpy(v))
    np.testing.assert_allclose(found.numpy(), subspace.project(v), atol=1e-12)
