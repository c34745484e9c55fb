"""Corruptions of images: what each does to pixels, how severities rise, and that draws can be repeated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.config.choices import CORRUPTIONS
from compressor.core import extras
from compressor.data.corruptions import SEVERITIES, corrupt, obstacle


def images(count: int = 2, channels: int = 3, size: int = 24, seed: int = 0):
    """Smooth random pictures: waves of a few lengths in every channel."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 2 * np.pi, size)
    waves = rng.uniform(0.5, 3, (2, count, channels, 1, 1))
    picture = np.sin(waves[0] * place[:, None] + rng.uniform(0, 6, (count, channels, 1, 1))) * np.cos(waves[1] * place)
    return (0.5 + 0.4 * picture).astype(np.float32)


def generators(count: int, seed: int = 0):
    return [np.random.default_rng([seed, k]) for k in range(count)]


@pytest.mark.parametrize("name", CORRUPTIONS)
@settings(deadline=None, max_examples=15)
@given(st.integers(1, 3), st.sampled_from((1, 3)), st.integers(1, 40), st.integers(1, 40), st.sampled_from(SEVERITIES))
def test_any_size_keeps_its_shape_and_range(name, count, channels, height, width, severity):
    given_images = np.random.default_rng(0).random((count, channels, height, width), np.float32)
    found = corrupt(given_images, CORRUPTIONS[name], severity, generators(count))
    assert found.shape == given_images.shape
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("size", [24, 80])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_rise(name, size):
    clean = images(size=size)
    damage = [np.abs(corrupt(clean, CORRUPTIONS[name], s, generators(2)) - clean).mean() for s in SEVERITIES]
    assert damage[0] > 0
    assert damage == sorted(damage)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alone_as_in_a_batch(name):
    clean = images(3)
    together = corrupt(clean, CORRUPTIONS[name], 3, generators(3))
    alone = corrupt(clean[2:], CORRUPTIONS[name], 3, generators(3)[2:])
    np.testing.assert_array_equal(together[2:], alone)


def test_noise_has_the_deviation_it_should():
    grey = np.full((1, 3, 60, 60), 0.5, np.float32)
    found = corrupt(grey, CORRUPTIONS["gaussian-noise"], 5, generators(1)) - 0.5
    assert found.std() == pytest.approx(0.10, rel=0.03)
    large = np.full((1, 3, 66, 66), 0.5, np.float32)
    found = corrupt(large, CORRUPTIONS["gaussian-noise"], 1, generators(1)) - 0.5
    assert found.std() == pytest.approx(0.08, rel=0.03)


def test_impulses_are_black_and_white_in_the_share_they_should():
    grey = np.full((1, 3, 64, 64), 0.5, np.float32)
    found = corrupt(grey, CORRUPTIONS["impulse-noise"], 5, generators(1))
    assert set(np.unique(found)) == {0, 0.5, 1}
    assert (found != 0.5).mean() == pytest.approx(0.07, abs=0.01)
    assert (found == 1).sum() == pytest.approx((found == 0).sum(), rel=0.2)


def test_blur_is_a_gaussian_that_loses_no_light():
    point = np.zeros((1, 1, 31, 31), np.float32)
    point[0, 0, 15, 15] = 1
    found = corrupt(point, CORRUPTIONS["blur"], 5, generators(1))[0, 0]
    assert found.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found, found.T, atol=1e-7)
    offsets = np.arange(31) - 15
    assert (found.sum(0) * offsets**2).sum() == pytest.approx(1, rel=0.01), "variance of sigma 1"
    flat = np.full((1, 3, 8, 8), 0.3, np.float32)
    np.testing.assert_allclose(corrupt(flat, CORRUPTIONS["blur"], 5, generators(1)), flat, atol=1e-6)


def test_contrast_keeps_the_mean_of_each_channel():
    clean = images()
    found = corrupt(clean, CORRUPTIONS["contrast"], 2, generators(2))
    np.testing.assert_allclose(found.mean((2, 3)), clean.mean((2, 3)), atol=1e-5)
    np.testing.assert_allclose(found.std((2, 3)), 0.5 * clean.std((2, 3)), atol=1e-5)


def test_brightness_keeps_hue_and_saturation():
    clean = images() * 0.6
    found = corrupt(clean, CORRUPTIONS["brightness"], 3, generators(2))
    np.testing.assert_allclose(found.max(1), clean.max(1) + 0.15, atol=1e-5)
    np.testing.assert_allclose(found / found.max(1, keepdims=True), clean / clean.max(1, keepdims=True), atol=1e-5)
    black = corrupt(np.zeros((1, 3, 2, 2), np.float32), CORRUPTIONS["brightness"], 3, generators(1))
    np.testing.assert_allclose(black, 0.15, atol=1e-6)


def test_jpeg_stays_near_a_smooth_picture():
    clean = images(size=32)
    found = corrupt(clean, CORRUPTIONS["jpeg"], 1, generators(2))
    assert np.abs(found - clean).mean() < 0.05


def test_what_cannot_be_done_is_said(monkeypatch):
    assert all(not obstacle(name, channels) for name in CORRUPTIONS for channels in (1, 3))
    assert obstacle("jpeg", 4) == "it takes images of 1 or 3 channels, and these have 4"
    assert not obstacle("blur", 4)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert "needs Pillow, which is not installed" in obstacle("jpeg", 3)
    assert not obstacle("blur", 3)
