"""Noise whose amplitude falls with frequency."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data.synthetic.fractal import fractal_noise


@pytest.mark.parametrize("size", [(64,), (32, 48), (8, 9, 10)])
def test_fields_have_mean_zero_and_deviation_one(size: tuple[int, ...]) -> None:
    fields = fractal_noise(np.random.default_rng(0), 3, size, 1.2)
    assert fields.shape == (3, *size)
    assert fields.dtype == np.float32
    axes = tuple(range(1, fields.ndim))
    np.testing.assert_allclose(fields.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(fields.std(axis=axes), 1, rtol=1e-4)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_amplitudes_fall_with_the_exponent(exponent: float) -> None:
    fields = fractal_noise(np.random.default_rng(1), 40, (128, 128), exponent)
    power = np.square(np.abs(np.fft.fft2(fields))).mean(axis=0)
    place = np.fft.fftfreq(128)
    radius = np.hypot(*np.meshgrid(place, place))
    near, far = (power[(radius > f / 1.2) & (radius < f * 1.2)].mean() for f in (0.04, 0.32))
    found = np.log(near / far) / np.log(0.32 / 0.04) / 2  # amplitude, not power
    assert abs(found - exponent) < 0.1


def test_a_single_number_is_zero_and_not_nan() -> None:
    assert fractal_noise(np.random.default_rng(0), 1, (1, 1), 1.0) == 0
