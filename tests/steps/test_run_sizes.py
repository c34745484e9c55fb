"""How many samples go through a model at a time, and how far outputs are from the original's on them."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.evaluate.stand_in import stand_in
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.steps import run_sizes
from compressor.steps.run_sizes import follow_batch, outputs_against
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


def graph(last: str) -> ir.Model:
    return in_memory(
        model(f"(float[n,4] x) => (float[n,4] y) {{ c = Constant<value_float=2.0>() a = Relu(x) {last} }}")
    )


def test_outputs_are_held_against_the_original_as_it_was_given() -> None:
    source, half, none = graph("y = Mul(a, c)"), graph("y = Identity(a)"), graph("y = Sub(a, a)")
    data = stand_in(source, SETTINGS, 8)
    nodes = len(source.graph)
    one = outputs_against(source, [half], data, SETTINGS)
    two = outputs_against(source, [none, half], data, SETTINGS)
    assert one is not None
    assert two is not None
    assert (one.distance.cut, two.distance.cut) == (None, 1.0)  # the model before the last is what was cut
    assert one.distance.value == two.distance.value == pytest.approx(0.5)
    assert len(source.graph) == nodes, "the caller's model stays as it is"


def test_runs_are_small_enough_and_samples_few_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    source, half = graph("y = Mul(a, c)"), graph("y = Identity(a)")
    data = stand_in(source, SETTINGS, 8)
    seen = []
    monkeypatch.setattr(
        run_sizes, "outputs_row", lambda models, data, settings, *, count: seen.append((settings, count))
    )
    outputs_against(source, [half], data, SETTINGS)
    monkeypatch.setattr(run_sizes, "RUN_BYTES", 70)  # a sample takes 32: two values of four numbers
    monkeypatch.setattr(run_sizes, "COMPARED", 5)
    outputs_against(source, [half], data, SETTINGS)
    assert [(settings.batch_size, count) for settings, count in seen] == [(SETTINGS.batch_size, 8), (2, 5)]
