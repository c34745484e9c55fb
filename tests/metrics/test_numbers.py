"""Cosine similarity and RMSE by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import root_mean_squared_error
from sklearn.metrics.pairwise import paired_cosine_distances

from compressor.data import Batch
from compressor.errors import UsageError
from compressor.metrics.metric import Metric
from compressor.metrics.numbers import Cosine, Rmse

RNG = np.random.default_rng(3)
ONE, TWO = (RNG.normal(size=(10, 6)).astype(np.float32) for _ in range(2))


def value(metric: Metric, values: np.ndarray, labels: np.ndarray | None, original: np.ndarray | None = None) -> float:
    for start in range(0, len(values), 4):
        part = slice(start, start + 4)
        taught = None if original is None else {"y": original[part]}
        metric.add({"y": values[part]}, Batch({"x": values[part]}, None if labels is None else labels[part]), taught)
    return metric.value()


@pytest.mark.parametrize("by", ["labels", "original"])
def test_both_are_those_of_scikit_learn(by: str) -> None:
    given = (TWO, None) if by == "labels" else (None, TWO)
    assert value(Cosine(), ONE, *given) == pytest.approx(1 - paired_cosine_distances(ONE, TWO).mean(), abs=1e-6)
    error = np.sqrt(((ONE - TWO) ** 2).mean())
    assert value(Rmse(), ONE, *given) == pytest.approx(error, rel=1e-5)
    single = root_mean_squared_error(TWO[:, 0], ONE[:, 0])
    assert value(Rmse(), ONE[:, :1], TWO[:, 0]) == pytest.approx(single, rel=1e-5)


def test_class_numbers_are_no_numbers_to_compare_with() -> None:
    classes = np.zeros(10, np.int64)
    assert value(Cosine(), ONE, classes, ONE * 3) == pytest.approx(1.0)
    assert value(Rmse(), ONE, classes, ONE) == 0.0


def test_rows_of_zeros_count_as_no_likeness() -> None:
    assert value(Cosine(), np.zeros((4, 3)), None, np.ones((4, 3))) == 0.0


def test_what_nothing_is_held_against_is_a_sentence() -> None:
    for metric in (Cosine(), Rmse()):
        with pytest.raises(UsageError, match="neither is there"):
            value(metric, ONE, None)
    with pytest.raises(UsageError, match="original's"):
        value(Rmse(), ONE, None, TWO[:, :3])
