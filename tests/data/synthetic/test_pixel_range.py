"""Ranges of pixel values."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data.synthetic.pixel_range import (
    BYTES,
    IMAGENET,
    SIGNED,
    UNIT,
    USUAL_RANGES,
    PixelRange,
    RangeChoice,
    given_range,
)

PIXELS = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)


def test_black_and_white_of_the_candidates() -> None:
    assert {c.name: c.limits for c in USUAL_RANGES} == {
        "[0, 1]": "0 to 1",
        "[-1, 1]": "-1 to 1",
        "[0, 255]": "0 to 255",
        "mean and deviation of ImageNet": "-2.118 to 2.64",
        "[-0.5, 0.5]": "-0.5 to 0.5",
    }


def test_channels_get_numbers_of_their_own_wherever_they_are() -> None:
    first = IMAGENET.applied(PIXELS, 1)
    np.testing.assert_allclose(first[:, 2], (PIXELS[:, 2] - 0.406) / 0.225, rtol=1e-5)
    last = IMAGENET.applied(PIXELS.transpose(0, 2, 3, 1), 3)
    np.testing.assert_array_equal(last, first.transpose(0, 2, 3, 1))
    assert first.dtype == np.float32


def test_the_mean_stands_for_channels_of_another_number() -> None:
    grey = PIXELS[:, :1]
    np.testing.assert_allclose(IMAGENET.applied(grey, 1), (grey - 0.449) / 0.226, rtol=1e-4)
    np.testing.assert_allclose(IMAGENET.applied(grey[:, 0], None), (grey[:, 0] - 0.449) / 0.226, rtol=1e-4)


@pytest.mark.parametrize(
    ("mean", "std", "limits", "black", "white"),
    [
        ((0.5,), (0.25,), None, -2, 2),
        ((), (), (0, 255), 0, 255),
        ((127.5,), (127.5,), (0, 255), -1, 1),
        ((0.5,), (), None, -0.5, 0.5),
        ((), (0.5,), None, 0, 2),
        ((), (), (-1, 3), -1, 3),
    ],
)
def test_what_the_user_says(
    mean: tuple[float, ...], std: tuple[float, ...], limits: tuple[float, float] | None, black: float, white: float
) -> None:
    choice = given_range(mean, std, limits)
    assert choice is not None
    assert choice.source == "given"
    np.testing.assert_allclose(choice.of(0).applied(np.float32([0, 1]), None), [black, white], atol=1e-6)


def test_numbers_by_channel_and_one_for_all() -> None:
    choice = given_range((0.1, 0.2, 0.3), (0.5,), None)
    assert choice is not None
    found = choice.of(0).applied(np.zeros((3, 1), np.float32), 0)
    np.testing.assert_allclose(found[:, 0], [-0.2, -0.4, -0.6], rtol=1e-6)
    assert given_range((), (), None) is None


def test_two_ranges_take_turns() -> None:
    choice = RangeChoice((IMAGENET, SIGNED))
    assert [choice.of(k) for k in range(3)] == [IMAGENET, SIGNED, IMAGENET]
    assert RangeChoice().of(7) == UNIT
    assert PixelRange("x", BYTES.mean, BYTES.std).limits == "0 to 255"


def test_dark_images_are_ground_where_scenes_are_not_bright() -> None:
    dark = PixelRange("dark", (0.5,), (0.5,), dark=True)
    np.testing.assert_allclose(dark.applied(np.float32([0, 0.6, 0.8, 1]), None), [-1, -1, 0, 1], atol=1e-6)
