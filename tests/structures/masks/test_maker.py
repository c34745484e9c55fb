"""Items to classes of given sizes, with the most gain."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.structures.masks.maker import balanced, even
from tests.reconstruct.case import noise


def test_balanced_classes_have_their_sizes_and_most_gain() -> None:
    gain = noise(12, 3, seed=1).astype(np.float64)
    found = balanced(gain, even(12, 3))
    assert np.bincount(found).tolist() == [4, 4, 4]
    rng = np.random.default_rng(0)
    best = max(gain[np.arange(12), rng.permutation(np.repeat(np.arange(3), 4))].sum() for _ in range(3000))
    assert gain[np.arange(12), found].sum() >= best


@pytest.mark.parametrize(("items", "classes", "sizes"), [(7, 3, [3, 2, 2]), (4, 4, [1] * 4), (2, 3, [1, 1, 0])])
def test_even_classes(items: int, classes: int, sizes: list[int]) -> None:
    assert even(items, classes).tolist() == sizes


def test_one_class_takes_all() -> None:
    assert balanced(np.zeros((3, 1)), even(3, 1)).tolist() == [0, 0, 0]
