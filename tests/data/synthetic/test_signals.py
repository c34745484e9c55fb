"""Waveforms and spectrograms."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data.synthetic.signals import spectrogram, waveform


@pytest.mark.parametrize(("channels", "length"), [(1, 16000), (2, 300), (8, 1)])
def test_waveforms_stay_within_one(channels: int, length: int) -> None:
    sounds = [waveform(np.random.default_rng(k), channels, length) for k in range(20)]
    assert {s.shape for s in sounds} == {(channels, length)}
    assert {s.dtype for s in sounds} == {np.dtype(np.float32)}
    assert all(np.abs(s).max() <= 1 for s in sounds)
    assert len({float(np.abs(s).max()) for s in sounds}) > 1 or length == 1


def test_waveforms_have_tones() -> None:
    """A few frequencies stand far above the rest, which in noise they would not."""
    peaks = []
    for k in range(20):
        power = np.square(np.abs(np.fft.rfft(waveform(np.random.default_rng(k), 1, 8192)[0])))
        peaks.append(np.sort(power)[-80:].sum() / power.sum())
    assert np.median(peaks) > 0.5


def test_microphones_hear_the_same_sounds() -> None:
    related = [np.corrcoef(waveform(np.random.default_rng(k), 2, 4000))[0, 1] for k in range(20)]
    assert np.median(related) > 0.8
    assert max(related) < 1


def test_spectrograms_are_of_unit_size_with_energy_in_low_bands() -> None:
    made = np.stack([spectrogram(np.random.default_rng(k), 80, 120) for k in range(20)])
    assert made.dtype == np.float32
    np.testing.assert_allclose(made.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(made.std(axis=(1, 2)), 1, rtol=1e-3)
    assert made[:, :20].mean() > made[:, -20:].mean() + 0.5
    assert np.isfinite(spectrogram(np.random.default_rng(0), 1, 1)).all()
