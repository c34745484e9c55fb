"""Settings stand as they were asked for, with what the run made of them."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.render.setting_rows import asked_rows


@pytest.mark.parametrize(
    ("ran", "text"),
    [
        ({}, "auto"),
        ({"rate": 0.1}, "auto (0.1)"),
        ({"training": [{"rate": 0.1}]}, "auto (0.1)"),
        ({"training": [{"rate": 0.1, "loss": "kl"}, {"rate": 0.1}]}, "auto (0.1)"),
        ({"training": [{"rate": 0.1}, {"rate": 0.2}, {}]}, "auto ([0.1, 0.2])"),
    ],
)
def test_what_was_asked_and_what_ran(ran: dict[str, Any], text: str) -> None:
    assert asked_rows({"rate": "auto"}, ran) == [("rate", text)]
