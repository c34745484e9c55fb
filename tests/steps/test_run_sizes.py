"""How many samples go through a model at a time."""

from __future__ import annotations

import pytest

from compressor.config import PruneSettings
from compressor.data import batch_limit
from compressor.evaluate.stand_in import stand_in
from compressor.steps.run_sizes import follow_batch
from tests.models import in_memory, model

SETTINGS = PruneSettings()


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        ("y = Relu(x)", None),
        ("y = Reshape(x, one)", 1),  # nothing in the declaration of the input says so
        ("y = Reshape(x, other)", None),  # it does not run on one sample either, so that the batch is not what is wrong
    ],
)
def test_a_batch_that_is_refused_becomes_one(body: str, taken: int | None) -> None:
    text = f"(float[N,4] x) => (float[a,b] y) <int64[2] one = {{1, 4}}, int64[2] other = {{3, 4}}> {{ {body} }}"
    source = in_memory(model(text, checked=False))
    data = stand_in(in_memory(model("(float[N,4] x) => (float[N,4] y) { y = Relu(x) }")), SETTINGS, 4)
    copy = source.clone()
    told = follow_batch([source, copy], data, SETTINGS)
    assert batch_limit(source) == batch_limit(copy) == batch_limit(source.clone()) == taken
    assert len(told) == (taken is not None)
    assert all("one by one" in text for text in told)


def test_what_the_file_says_is_not_tried() -> None:
    source = in_memory(model("(float[3,4] x) => (float[3,4] y) { y = Relu(x) }"))
    assert follow_batch([source], stand_in(source, SETTINGS, 4), SETTINGS) == []
    assert batch_limit(source) == 3
