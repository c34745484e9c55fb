"""The interval of a speed-up on made-up noise: it holds the truth as often as it says, and finds what is there."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from compressor.evaluate import statistics
from compressor.evaluate.statistics import SpeedUp, block_length, relative_iqr, speed_up, student_quantile

Floats = NDArray[np.float64]


def noise(rng: np.random.Generator, count: int, memory: float, size: float) -> Floats:
    """First-order autoregression with that standard deviation."""
    fresh = rng.normal(0, size * np.sqrt(1 - memory**2), count)
    series = np.empty(count)
    last = rng.normal(0, size)
    for k in range(count):
        last = series[k] = memory * last + fresh[k]
    return series


def measured(
    rng: np.random.Generator,
    factor: float = 1.0,
    *,
    rounds: int = 5,
    pairs: int = 40,
    memory: float = 0.9,
    session: float = 0.0,
) -> tuple[list[Floats], list[Floats]]:
    """Seconds of A and of B, ``factor`` times as fast, with noise of both and of each, and luck of each session."""
    a, b = [], []
    for _ in range(rounds):
        load = np.exp(noise(rng, pairs, memory, 0.3))
        own = [np.exp(noise(rng, pairs, memory, 0.03) + rng.normal(0, session)) for _ in range(2)]
        a.append(1e-3 * load * own[0])
        b.append(1e-3 * load * own[1] / factor)
    return a, b


def intervals(count: int, factor: float, level: float, **how: float) -> list[SpeedUp]:
    return [speed_up(*measured(np.random.default_rng([7, k]), factor, **how), level, seed=k) for k in range(count)]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 150)


@pytest.mark.parametrize(
    "how",
    [{}, {"memory": 0.0}, {"session": 0.05}, {"rounds": 1, "pairs": 150}, {"rounds": 3, "pairs": 25}],
    ids=["bursts", "independent", "luck of sessions", "one round", "three rounds"],
)
def test_the_interval_of_equal_models_holds_one(how):
    found = intervals(60, 1.0, 0.99, **how)
    assert sum(f.low <= 1 <= f.high for f in found) >= 56


def test_the_interval_holds_a_real_speed_up_and_excludes_one():
    found = intervals(30, 1.1, 0.95)
    assert sum(f.low <= 1.1 <= f.high for f in found) >= 26
    assert sum(f.low > 1 for f in found) >= 27


def test_independent_resampling_would_not_hold(monkeypatch):
    """Counter-test: with single pairs instead of blocks, and one round, bursts make the interval far too narrow."""
    how = {"rounds": 1, "pairs": 150, "memory": 0.95}
    held = [sum(f.low <= 1 <= f.high for f in intervals(40, 1.0, 0.95, **how))]
    monkeypatch.setattr(statistics, "block_length", lambda series: 1)
    held.append(sum(f.low <= 1 <= f.high for f in intervals(40, 1.0, 0.95, **how)))
    assert held[0] >= held[1] + 5
    assert held[1] < 32


def test_luck_of_sessions_widens_the_interval_as_rounds_alone_can_show():
    rng = np.random.default_rng(0)
    calm = speed_up(*measured(rng, memory=0.0), 0.95)
    lucky = speed_up(*measured(rng, memory=0.0, session=0.05), 0.95)
    assert lucky.high / lucky.low > 1.5 * calm.high / calm.low - 0.5
    assert np.log(lucky.high / lucky.low) > 2 * np.log(calm.high / calm.low)


def test_rounds_are_drawn_as_often_as_chance_has_it(rng, monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS", 2000)
    a, b = np.exp(rng.normal(0, [[0.1], [0.5], [1.0]], (2, 3, 8)))
    ways = [[*way] for way in product(range(3), repeat=3)]
    exact = np.std([np.log(np.median(a[way]) / np.median(b[way])) for way in ways])
    assert statistics._by_rounds(np.stack([a.ravel(), b.ravel()]), [8] * 3, rng) == pytest.approx(exact, rel=0.05)


def test_blocks_of_independent_pairs_spread_as_single_pairs_do(rng, monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS", 2000)
    pairs = np.exp(rng.normal(0, 1, (2, 900)))
    pairs[:, :100] = 1  # of the first round alone nothing would be told
    single, blocks = (statistics._by_blocks(pairs, [100, 800], [size] * 2, rng) for size in (1, 7))
    assert single > 0
    assert blocks == pytest.approx(single, rel=0.15)


def test_swapping_the_models_gives_the_reciprocal(rng):
    a, b = measured(rng, 1.3)
    one, two = speed_up(a, b, 0.9), speed_up(b, a, 0.9)
    assert one.value == pytest.approx(1 / two.value)
    assert one.low == pytest.approx(1 / two.high)
    assert one.high == pytest.approx(1 / two.low)
    assert one.low < one.value < one.high


def test_the_value_is_the_ratio_of_medians_and_the_same_for_the_same_seed(rng):
    a, b = measured(rng, 1.3)
    found = speed_up(a, b, 0.95, seed=3)
    assert found.value == pytest.approx(np.median(np.concatenate(a)) / np.median(np.concatenate(b)))
    assert found == speed_up(a, b, 0.95, seed=3)


def test_rounds_of_different_length_and_constant_times():
    a = [np.full(4, 2e-3), np.full(9, 2e-3)]
    b = [np.full(4, 1e-3), np.full(9, 1e-3)]
    found = speed_up(a, b, 0.95)
    assert (found.low, found.value, found.high) == pytest.approx((2, 2, 2))


def test_a_wider_confidence_is_a_wider_interval(rng):
    a, b = measured(rng)
    widths = [speed_up(a, b, level).high / speed_up(a, b, level).low for level in (0.8, 0.95, 0.99)]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


# ---- block length, Student, spread ----------------------------------------------------------------------------


def test_blocks_grow_with_the_memory_of_the_noise():
    rng = np.random.default_rng(1)
    lengths = [float(np.mean([block_length(noise(rng, 400, m, 1.0)) for _ in range(20)])) for m in (0.0, 0.5, 0.9)]
    assert lengths[0] < 4 < lengths[1] < lengths[2]
    assert lengths[2] > 15


def test_blocks_of_a_short_or_constant_series_are_single():
    assert block_length(np.ones(100)) == 1
    assert block_length(np.arange(7.0)) == 1


@pytest.mark.parametrize("count", [8, 9, 30, 500])
def test_blocks_leave_room_for_three(count):
    assert 1 <= block_length(np.arange(float(count))) <= count // 3


@pytest.mark.parametrize(
    ("level", "freedom", "expected"),
    [(0.95, 1, 12.706), (0.95, 4, 2.776), (0.99, 9, 3.250), (0.9, 30, 1.697), (0.5, 2, 0.816)],
)
def test_quantiles_of_student_are_those_of_the_tables(level, freedom, expected):
    assert student_quantile(level, freedom) == pytest.approx(expected, abs=1e-3)


def test_spread_is_the_middle_half_over_the_median():
    assert relative_iqr(np.asarray([1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(2 / 3)
    assert relative_iqr(np.ones(5)) == 0
