"""The search for widths of a given latency, with times that are computed."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.config.target import LATENCY_SLACK
from compressor.errors import NothingToPrune, TargetOutOfReach
from compressor.latency.search import CORRECTIONS, Aim, WidthSearch
from compressor.results.detail import LatencyResult
from tests.latency.case import widths_of_residual

ORIGINAL_MS = 10.0


def search(text, seen, *, noise=0.0, width=128, seed=0, **asked):
    """A search in which a model of predicted share s takes the share ``seen(s)``, give or take some noise."""
    widths = widths_of_residual(width, **asked)
    rng = np.random.default_rng(seed)

    def measure(levels):
        after = ORIGINAL_MS * seen(widths.total(levels)) * float(np.exp(noise * rng.standard_normal()))
        speed, error = ORIGINAL_MS / after, float(np.exp(2.576 * noise))
        return LatencyResult(before_ms=ORIGINAL_MS, after_ms=after, low=speed / error, high=speed * error, level=0.99)

    return WidthSearch(Aim(text), widths, measure)


SEEN = {
    "as predicted": lambda share: share,
    "slower": lambda share: 1.4 * share,
    "faster": lambda share: share**1.4,
    "with something constant": lambda share: 0.2 + 0.8 * share,
    "curved": lambda share: share**0.6,
}


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("text", ["0.5x", "0.8x", "3.5ms"])
def test_reached_whatever_the_prediction_is_worth(seen, text):
    looking = search(text, SEEN[seen], round_to=2)
    looking.demand_reachable()
    trial = looking.run()
    assert trial.hits
    assert abs(trial.latency.after_ms - Aim(text).milliseconds(trial.latency)) <= LATENCY_SLACK * 5.0 * 2
    assert len(looking.trials) <= 1 + CORRECTIONS


def test_a_true_prediction_is_measured_once():
    looking = search("0.5x", SEEN["as predicted"], round_to=2)
    looking.demand_reachable()
    looking.run()
    assert len(looking.trials) == 2


@pytest.mark.parametrize("seed", range(8))
def test_noise_does_not_lead_astray(seed):
    looking = search("0.5x", SEEN["slower"], noise=0.02, round_to=2, seed=seed)
    looking.demand_reachable()
    trial = looking.run()
    assert 1 - 2 * LATENCY_SLACK < trial.reached <= 1 + LATENCY_SLACK
    assert trial.predicted == pytest.approx(0.5 / 1.4, rel=0.1)


def test_coarse_widths_come_out_faster():
    looking = search("0.75x", SEEN["as predicted"], width=32, round_to=16)
    looking.demand_reachable()
    trial = looking.run()
    assert trial.reached < 1 - LATENCY_SLACK
    widths = looking._widths
    wider = [[*trial.levels[:k], level - 1, *trial.levels[k + 1 :]] for k, level in enumerate(trial.levels) if level]
    assert all(widths.total(one) > 0.75 for one in wider)


def test_faster_than_possible():
    looking = search("0.05x", SEEN["with something constant"])
    with pytest.raises(TargetOutOfReach, match=r"can come down to .* --max-ratio") as raised:
        looking.demand_reachable()
    assert raised.value.exit_code == 4


def test_fast_enough_already():
    with pytest.raises(NothingToPrune, match="takes 10 ms already, the target is 12 ms"):
        search("12ms", SEEN["as predicted"]).demand_reachable()


def test_a_machine_that_tells_nothing():
    """Every model but the narrowest seems far too slow, however narrow: no answer is better than a wrong one."""
    looking = search("0.5x", lambda share: 0.3 if share < 0.1 else 2.0, round_to=2)
    looking.demand_reachable()
    with pytest.raises(TargetOutOfReach, match="the nearest to the target of 5 ms"):
        looking.run()


@pytest.mark.parametrize("text", ["0.65x", "0.8x", "0.9x"])
def test_reached_where_the_table_tells_nothing(text):
    """Small models: what a run takes besides its operators counts most, and times of operators are mostly noise."""
    widths = widths_of_residual(128, round_to=2)
    rng = np.random.default_rng(0)
    shares = {}
    widths.total = lambda levels: shares.setdefault(tuple(levels), float(rng.uniform(0.8, 1.05)))
    last = widths.narrowest

    def measure(levels):
        place = float(np.mean([level / most for level, most in zip(levels, last, strict=True) if most]))
        after = ORIGINAL_MS * (1 - 0.45 * place)
        speed = ORIGINAL_MS / after
        return LatencyResult(before_ms=ORIGINAL_MS, after_ms=after, low=speed, high=speed, level=0.99)

    looking = WidthSearch(Aim(text), widths, measure)
    looking.demand_reachable()
    assert 1 - 2 * LATENCY_SLACK < looking.run().reached <= 1 + LATENCY_SLACK
