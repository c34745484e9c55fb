"""The strength follows the share of channels that are small."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st

from compressor.train.regularizers.controller import Controller


def steered(shares: list[float], **given: float) -> list[float]:
    controller = Controller(0.5, **given)
    controller.start(20 * len(shares))
    found = []
    for share in shares:
        controller.update(share)
        found.append(controller.strength)
    return found


def test_it_rises_while_the_share_lags_and_falls_when_it_is_over() -> None:
    assert steered([0.0, 0.0, 0.0, 0.6, 0.7], step=1.0) == [1.0, 2.0, 3.0, 2.0, 1.0]


def test_it_holds_while_the_share_grows_fast_enough() -> None:
    assert steered([0.1, 0.3, 0.45, 0.5], step=1.0) == [0.0, 0.0, 0.0, 0.0]


def test_it_grows_by_a_factor_where_the_strength_is_a_share() -> None:
    assert steered([0.0, 0.0, 0.6], start=1.0, growth=2.0) == [2.0, 4.0, 2.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 2), st.floats(1, 3))
def test_it_is_never_negative(shares: list[float], step: float, growth: float) -> None:
    assert min(steered(shares, step=step, growth=growth)) >= 0


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.integers(1, 19))
def test_it_goes_on_where_it_was(shares: list[float], at: int) -> None:
    one, two = Controller(0.5, step=1.0), Controller(0.5, step=1.0)
    one.start(400)
    for share in shares[:at]:
        one.update(share)
    two.start(400)
    two.load_state_dict(one.state_dict())
    for share in shares[at:]:
        one.update(share)
        two.update(share)
    assert one.state_dict() == two.state_dict()


def test_it_says_what_was_not_reached() -> None:
    controller = Controller(0.5)
    assert "30% of the channels small, 50% go" in controller.notes(0.3)[0]
    assert controller.notes(0.48) == []


@pytest.mark.parametrize(
    ("shares", "looks", "hopeless"),
    [
        ([0.0, 0.0, 0.0, 0.0], 10, False),
        ([0.0, 0.0, 0.0, 0.0, 0.05], 10, True),
        ([0.0, 0.0, 0.0, 0.0, 0.06], 10, False),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1], 10, True),
        ([0.6, 0.6], 2, False),
    ],
)
def test_out_of_reach_is_told_from_half_of_the_looks_on(shares: list[float], looks: int, hopeless: bool) -> None:
    """0.05 * 2 ** 3 = 0.4, which misses 0.5 by more than is forgiven; 0.06 * 2 ** 3 = 0.48 does not."""
    controller = Controller(0.5)
    controller.start(20 * looks)
    for share in shares:
        controller.update(share)
    assert controller.hopeless == hopeless


def test_it_says_that_it_stopped() -> None:
    controller = Controller(0.5)
    controller.start(200)
    for _ in range(5):
        controller.update(0.01)
    [note] = controller.notes(0.01)
    assert "out of reach" in note
    assert "50% into the training towards the cut 1% of the channels were small, where 50% go" in note
