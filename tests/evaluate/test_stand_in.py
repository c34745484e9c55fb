"""Made-up samples for a run: the range as given, or read, and the row that the report gets."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.config import DataSettings
from compressor.core.clock import Clock
from compressor.errors import UsageError
from compressor.evaluate.stand_in import describe_samples, stand_in, tell_sizes
from tests.data.case import everything, taking
from tests.models import in_memory, model

NET = in_memory(model("(float[N,3,8,8] x) => (float y) <float[8,3,3,3] w> { z = Conv(x, w) y = Relu(z) }"))


def test_the_range_that_is_given_is_kept() -> None:
    samples = stand_in(NET, DataSettings.parse({"input_range": "0,255"}), 40)
    x = samples.take(everything(40)).inputs["x"]
    assert 0 <= x.min() < 10
    assert 245 < x.max() <= 255
    row = describe_samples(samples)
    assert (row.kinds, row.source, row.limits, row.margin) == ({"x": "image"}, "given", ["0 to 255"], None)


def test_mean_and_deviation_are_taken_off_pixels_of_the_range() -> None:
    settings = DataSettings.parse({"input_range": (0, 255), "mean": "127.5", "std": "127.5"})
    x = stand_in(NET, settings, 40).take(everything(40)).inputs["x"]
    assert -1 <= x.min() < -0.95
    assert 0.95 < x.max() <= 1


def test_numbers_that_do_not_fit_the_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="hold 2 numbers, and input 'x' takes images of 3 channels; give one number"):
        stand_in(NET, DataSettings(mean=(0.1, 0.2)), 4)


def test_without_a_word_the_network_is_asked() -> None:
    row = describe_samples(stand_in(NET, DataSettings(), 4))
    assert row.source == "behaviour"
    assert row.margin is not None
    assert row.runner_up in row.scores
    assert len(row.scores) == 5


def test_samples_without_pixels_have_no_range() -> None:
    samples = stand_in(taking("float[N,5] x"), DataSettings(seed=3), 6)
    assert len(samples) == 6
    assert np.isfinite(samples.take(everything(6)).inputs["x"]).all()
    row = describe_samples(samples)
    assert (row.kinds, row.range, row.source) == ({"x": "features"}, [], None)


def test_no_sequence_is_longer_than_a_table_of_positions() -> None:
    text = """(int64[N,L] ids) => (float y) <float[11,8] table, float[20,4] cosines, float[20,4] sines,
            int64[1] zero = {0}> {
        e = Gather(table, ids)  r = com.microsoft.RotaryEmbedding(e, zero, cosines, sines)  y = Relu(r) }"""
    rotating = in_memory(model(text, domains=("com.microsoft",), checked=False))
    assert stand_in(rotating, DataSettings(), 4).take(everything(4)).inputs["ids"].shape == (4, 20)


def test_sizes_that_nobody_gave_are_told() -> None:
    net = in_memory(model("(float[N,3,H,W] x) => (float y) <float[8,3,3,3] w> { z = Conv(x, w) y = Relu(z) }"))
    samples = stand_in(net, DataSettings.parse({"input_range": "0,255", "dims": {"W": 40}}), 2)
    assert describe_samples(samples).left_open == {"H": 32}
    told: list[str] = []
    tell_sizes(samples, Clock(told.append))
    assert told == ["samples of H=32 (--dim gives other sizes)"]
    tell_sizes(stand_in(NET, DataSettings.parse({"input_range": "0,255"}), 2), Clock(told.append))
    assert len(told) == 1
