"""Perplexity by its definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from compressor.data import Batch
from compressor.errors import ModelError, UsageError
from compressor.metrics.perplexity import LARGEST_LOSS, Perplexity

RNG = np.random.default_rng(2)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores)
    return powers / powers.sum(-1, keepdims=True)


def perplexity(scores: np.ndarray, tokens: np.ndarray, labels: np.ndarray | None) -> float:
    metric = Perplexity()
    for row in range(len(scores)):
        part = slice(row, row + 1)
        batch = Batch({"input_ids": tokens[part]}, None if labels is None else labels[part])
        metric.add({"y": scores[part]}, batch, None)
    return metric.value()


@pytest.mark.parametrize("form", ["scores", "probabilities", "classes on axis 1"])
def test_it_is_the_exponential_of_the_log_loss(form: str) -> None:
    scores, labels = RNG.normal(size=(3, 5, 9)), RNG.integers(0, 9, (3, 5))
    expected = np.exp(log_loss(labels.ravel(), softmax(scores).reshape(-1, 9), labels=np.arange(9)))
    given = {"scores": scores, "probabilities": softmax(scores)}.get(form, np.moveaxis(scores, -1, 1))
    assert perplexity(given, labels, labels) == pytest.approx(expected)


def test_without_labels_the_next_token_is_what_is_right() -> None:
    scores, tokens = RNG.normal(size=(3, 5, 9)), RNG.integers(0, 9, (3, 5))
    labels = np.concatenate([tokens[:, 1:], np.full((3, 1), -100)], 1)
    assert perplexity(scores, tokens, None) == pytest.approx(perplexity(scores, tokens, labels))
    assert perplexity(scores, tokens, None) != pytest.approx(perplexity(scores, tokens, tokens))


def test_a_model_that_knows_nothing_has_the_size_of_its_vocabulary() -> None:
    assert perplexity(np.zeros((2, 4, 50)), np.zeros((2, 4), np.int64), None) == pytest.approx(50)


def test_what_would_be_infinite_is_very_large() -> None:
    scores = np.zeros((1, 2, 3))
    scores[..., 0] = 1e6
    assert perplexity(scores, np.full((1, 2), 1), None) == pytest.approx(np.exp(LARGEST_LOSS))


def test_what_is_no_language_model_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="there are no labels"):
        Perplexity().add({"y": np.zeros((2, 4))}, Batch({"x": np.zeros((2, 3), np.float32)}), None)
    with pytest.raises(UsageError, match=r"labels \[1\]"):
        perplexity(np.zeros((2, 4, 5)), np.zeros((2, 4), np.int64), np.zeros(2, np.int64))
    with pytest.raises(UsageError, match="tokens from 0 to 4"):
        perplexity(np.zeros((1, 4, 5)), np.full((1, 4), 7), None)
    with pytest.raises(ModelError, match="NaN"):
        perplexity(np.full((1, 4, 5), np.nan), np.zeros((1, 4), np.int64), None)
