"""How far apart two arrays are, and whether that is within tolerance."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from compressor.core.compare import GRID_SHARE, ArrayDistance, Tolerance, is_finite, rounding_spread, squares
from compressor.core.compare import distance as measured


def distance(one, two, rtol, atol) -> ArrayDistance:
    return measured(one, two, Tolerance(rtol, atol))


def test_errors_are_absolute_and_of_the_range():
    found = distance(np.asarray([[1.0, -4.0]], np.float32), np.asarray([[1.1, -4.0]], np.float32), 1e-4, 0.0)
    assert found.max_abs == pytest.approx(0.1, rel=1e-5)
    assert found.mean_abs == pytest.approx(0.05, rel=1e-5)
    assert found.max_rel == pytest.approx(0.025, rel=1e-5)
    assert (found.agree, found.rows, found.compared, found.passed) == (1, 1, 2, False)
    assert 0.999 < found.cosine < 1


@pytest.mark.parametrize(
    ("rtol", "atol", "passed"), [(0.03, 0, True), (0.02, 0, False), (0, 0.11, True), (0.0125, 0.06, True)]
)
def test_tolerances_add_up(rtol, atol, passed):
    one, two = np.asarray([1.0, -4.0]), np.asarray([1.1, -4.0])
    assert distance(one, two, rtol, atol).passed is passed


def test_rows_that_choose_another_class_are_counted():
    one = np.eye(4, 3)
    two = one.copy()
    two[0] = [0, 0, 9]
    found = distance(one, two, 1.0, 0.0)
    assert (found.agree, found.rows) == (3, 4)
    assert distance(np.ones((4, 1)), np.ones((4, 1)), 0, 0).agree is None
    assert distance(np.ones((2, 3, 4)), np.ones((2, 3, 4)), 0, 0).agree is None


def test_equal_infinities_and_nans_do_not_count():
    one = np.asarray([np.nan, np.inf, -np.inf, 2.0])
    assert distance(one, one.copy(), 0, 0).passed
    assert distance(one, one.copy(), 0, 0).compared == 1
    for wrong in ([0, np.inf, -np.inf, 2.0], [np.nan, -np.inf, -np.inf, 2.0], [np.nan, np.inf, -np.inf, np.nan]):
        found = distance(one, np.asarray(wrong), 1.0, 1.0)
        assert not found.passed
        assert found.max_abs == np.inf


def test_nothing_finite_compares_nothing():
    found = distance(np.full(3, np.nan), np.full(3, np.nan), 0, 0)
    assert found.passed
    assert found.compared == 0


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_coarse_types_need_not_be_closer_than_they_can(dtype):
    one = np.linspace(1, 2, 50, dtype=np.float32)
    found = distance(one, one.astype(dtype), 1e-6, 0)
    assert found.passed
    assert found.max_abs > 0
    assert not distance(one, (1.2 * one).astype(dtype), 1e-6, 0).passed


def test_integers_and_texts_count_what_differs():
    one = np.arange(4000)
    assert distance(one, np.where(one < 3, -1, one), 0, 0).passed
    assert not distance(one, np.where(one < 9, -1, one), 1.0, 100.0).passed
    texts = np.asarray(["a", "b"], object)
    assert distance(texts, texts.copy(), 0, 0).passed
    assert distance(texts, np.asarray(["a", "c"], object), 0, 0).max_abs == 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_other_shapes_are_infinitely_far(dtype):
    found = distance(np.ones((2, 3), dtype), np.ones((3, 2), dtype), 1.0, 1.0)
    assert (found.passed, found.max_abs) == (False, np.inf)


def test_all_zeros_have_no_range():
    found = distance(np.zeros(3), np.full(3, 1e-3), 1e-4, 0)
    assert not found.passed
    assert found.max_rel == pytest.approx(1e-3)
    assert found.cosine is None


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_numbers_have_the_tolerance_that_was_asked_for(dtype):
    one = np.asarray([[3 + 4j, 1j], [0, -2]], dtype)
    two = one + np.asarray([[0, 0.05j], [0, 0]], dtype)
    assert not distance(one, two, 0.005, 0.0).passed
    assert distance(one, two, 0.02, 0.0).passed
    assert distance(one, two, 0.0, 0.06).passed
    found = distance(one, two, 0.005, 0.0)
    assert (found.max_abs, found.max_rel, found.agree) == (pytest.approx(0.05), pytest.approx(0.01), None)
    assert not measured(one, two, Tolerance(0.02, by_channel=True)).passed, "its channel goes no further than to 2"
    assert not distance(one, np.where(one == 0, np.nan, one), 1.0, 1.0).passed


def test_rounding_is_measured_of_complex_numbers_by_entry():
    one = np.asarray([[3 + 4j, 1j]], np.complex64)
    noise = rounding_spread(one, [one + np.complex64(0.001j)])
    assert noise == pytest.approx(np.full((1, 2), 0.001), rel=1e-3)
    assert measured(one, one + np.complex64(0.0009j), Tolerance(1e-6), noise).passed
    assert not measured(one, one + np.complex64(0.002j), Tolerance(1e-6), noise).passed


def test_norms_are_those_of_numbers_and_not_of_places_that_differ():
    one, two = np.asarray([3 + 4j, 0], np.complex64), np.asarray([3 + 4j, 1j], np.complex64)
    assert squares(one, two) == (pytest.approx(1.0), pytest.approx(25.0))
    assert not is_finite(np.asarray([complex(0, np.inf)]))


def test_rounding_moves_numbers_by_a_step_of_their_grid_at_least() -> None:
    """Small results of a logistic function are multiples of 2^-25, and stand still until they jump."""
    grid = (np.random.default_rng(0).integers(3000, 6000, (1, 4, 50)) * 2.0**-25).astype(np.float32)
    fine = np.random.default_rng(1).uniform(1e-4, 2e-4, (1, 4, 50)).astype(np.float32)
    array = np.concatenate([grid, fine, np.zeros((1, 4, 50), np.float32)], axis=1)
    noise = rounding_spread(array, [array])
    assert (noise[:, :4] == GRID_SHARE * 2.0**-25).all()
    assert (noise[:, 4:] < 2.0**-32).all()
    whole = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
    assert (rounding_spread(whole, [whole]) <= 2.0**-23).all(), "counts come in steps of 1, which are no rounding"
