"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from compressor.core.formatting import count, keyed, metric_value, percentage, printable, quantity, share


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (9_999, "9,999 B"), (10_000, "10.0 kB"), (99_949, "99.9 kB"), (99_950, "100 kB"), (999_499, "999 kB"),
     (999_500, "1.00 MB"), (4_089_000_000, "4.09 GB"), (5e18, "5000 PB")],
)  # fmt: skip
def test_three_digits_and_a_prefix(number: float, text: str) -> None:
    assert quantity(number, "B") == text
    assert quantity(number) == text.replace(" B", "").replace("B", "").rstrip()


def test_names_of_files_cannot_move_the_cursor() -> None:
    assert printable("a\x1b[2Jb\r\u202e") == r"a\x1b[2Jb\r\u202e"
    assert printable("Größe 3") == "Größe 3"


@pytest.mark.parametrize(
    ("part", "text"),
    [(0.0, "0.0%"), (0.000_123, "0.012%"), (0.0051, "0.51%"), (-0.0051, "-0.51%"), (0.00996, "1.0%"), (0.1234, "12.3%"),
     (1.0, "100.0%")],
)  # fmt: skip
def test_small_shares_are_not_called_nothing(part: float, text: str) -> None:
    assert percentage(part) == text


def test_counts_shares_and_metrics() -> None:
    assert (count(1, "group"), count(1200, "group")) == ("1 group", "1,200 groups")
    assert (share(1, 3), share(0, 0)) == ("0.33", "-")
    assert (metric_value(0.8459, share=True), metric_value(23.7104, share=False)) == ("84.59%", "23.71")


def test_keys_stand_for_the_flags_of_settings_alone() -> None:
    text = "--max-drop allows 1%; try --no-per-channel, or --report with --max"
    assert (
        keyed(text, ["max_drop", "per_channel"]) == "max_drop allows 1%; try per_channel=False, or --report with --max"
    )
