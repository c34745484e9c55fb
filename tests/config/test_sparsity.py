"""Settings of training before a cut."""

from __future__ import annotations

import pytest

from compressor.config import PruneSettings
from compressor.errors import UsageError

TRAINED = {"ratio": 0.5, "recover": "finetune"}


@pytest.mark.parametrize("given", [3, "3", 3.0])
def test_epochs_of_decay_are_short_for_two_settings(given: object) -> None:
    short = PruneSettings.parse({**TRAINED, "decay_epochs": given})
    assert short == PruneSettings.parse({**TRAINED, "sparsify": "decay", "sparsify_epochs": 3})
    assert PruneSettings.model_validate_json(short.model_dump_json()) == short


@pytest.mark.parametrize("given", [0, "0"])
def test_no_epochs_of_decay_are_no_method(given: object) -> None:
    assert PruneSettings.parse({**TRAINED, "decay_epochs": given, "sparsify": "iss"}).sparsify == "iss"


@pytest.mark.parametrize(("given", "said"), [("-1", "at least 0"), ("many", "must be a whole number")])
def test_what_is_no_number_of_epochs_is_said_of_the_setting_that_was_given(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"decay_epochs.*{said}"):
        PruneSettings.parse({**TRAINED, "decay_epochs": given})
