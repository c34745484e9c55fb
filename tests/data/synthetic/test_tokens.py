"""Token indices: within the vocabulary, of frequencies that fall, and repeating themselves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from compressor.data.synthetic.tokens import tokens


@pytest.mark.parametrize("vocabulary", [1, 2, 11, 50_000])
@pytest.mark.parametrize("shape", [(64,), (3, 20), (1,), ()])
def test_indices_stay_within_the_vocabulary(vocabulary: int, shape: tuple[int, ...]) -> None:
    made = tokens(np.random.default_rng(0), shape, vocabulary)
    assert made.shape == shape
    assert made.dtype == np.int64
    assert made.min() >= 0
    assert made.max() < vocabulary


def test_every_entry_of_a_small_vocabulary_occurs_and_frequencies_fall() -> None:
    counts = np.bincount(tokens(np.random.default_rng(0), (4, 2000), 11).ravel(), minlength=11)
    assert counts.min() > 0
    assert counts[0] > 2 * counts[5] > 0


def test_frequent_entries_do_not_make_up_the_whole_text() -> None:
    """Special and unused entries come first; under the plain law of Zipf the first 1 % would be over half."""
    made = tokens(np.random.default_rng(0), (100, 200), 30_000)
    assert 0.02 < (made < 300).mean() < 0.25
    assert (made > 15_000).mean() > 0.05


def test_text_repeats_itself() -> None:
    def repeated(text: np.ndarray) -> float:
        pairs = [list(pairwise(row)) for row in text.tolist()]
        return float(np.mean([1 - len(set(found)) / len(found) for found in pairs]))

    text = tokens(np.random.default_rng(0), (50, 100), 30_000)
    shuffled = np.random.default_rng(1).permutation(text.ravel()).reshape(text.shape)
    assert repeated(text) > 0.05
    assert repeated(shuffled) < 0.01


def test_a_single_index_takes_every_value_alike() -> None:
    """A class or a step of time is no text."""
    made = [int(tokens(np.random.default_rng(k), (), 10)) for k in range(2000)]
    assert np.bincount(made, minlength=10).min() > 120
