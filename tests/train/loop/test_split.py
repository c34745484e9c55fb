"""What samples to judge on are called."""

from __future__ import annotations

import pytest

from compressor.config import TuneSettings
from compressor.train.loop.split import JudgedSamples, aside_of


@pytest.mark.parametrize(("given", "said"), [(None, "9 samples set aside"), ("v.npz", "9 samples of --val-data")])
def test_samples_that_were_given_are_not_set_aside(given: str | None, said: str) -> None:
    aside = aside_of(TuneSettings(data="a.npz", val_data=given))
    assert JudgedSamples(9, False, aside).in_words() == said
