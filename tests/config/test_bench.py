"""Settings of a latency measurement: batches and times as people write them."""

from __future__ import annotations

import pytest

from compressor.config.bench import BenchSettings
from compressor.errors import UsageError


@pytest.mark.parametrize(("given", "found"), [("1,32", (1, 32)), (("8", "1,8"), (8, 1)), (4, (4,)), ((), ())])
def test_batches_come_in_their_order_each_once(given: object, found: tuple[int, ...]) -> None:
    assert BenchSettings.parse({"batch": given}).batch == found


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("2.5ms", 2.5), ("800us", 0.8), ("800 µs", 0.8), (".1s", 100.0), ("3", 3.0), (3, 3.0)]
)
def test_times_are_milliseconds_unless_they_say(text: object, milliseconds: float) -> None:
    assert BenchSettings.parse({"max_latency": text}).max_latency == pytest.approx(milliseconds)


@pytest.mark.parametrize(
    ("name", "text", "fact"),
    [
        ("max_latency", "2 hours", "'2 hours' is not a time such as 2.5ms"),
        ("max_latency", "0ms", "must be above 0"),
        ("batch", "1,x", "batch must be a whole number, not 'x'"),
        ("batch", "0", "must be at least 1"),
        ("threads", 1025, "threads must be at most 1024"),
        ("provider", "cdua", "'cdua' is not a provider; did you mean 'cuda'"),
    ],
)
def test_what_is_neither_is_refused(name: str, text: object, fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        BenchSettings.parse({name: text})
