"""What the report says of the samples that outputs were compared on."""

from __future__ import annotations

import pytest

from compressor.config import PruneSettings
from compressor.evaluate.stand_in import stand_in
from compressor.steps.run_samples import RunSamples
from tests.models import in_memory, model
from tests.reconstruct.case import Arrays, noise

NET = "(float[n,4] x) => (float[n,4] y) { y = Relu(x) }"
GIVEN, ASIDE = Arrays(x=noise(6, 4)), Arrays(x=noise(5, 4))


@pytest.mark.parametrize(
    ("samples", "count", "real", "seen"),
    [
        (RunSamples(GIVEN, ASIDE, real=True), 5, True, False),
        (RunSamples(GIVEN, None, real=True), 6, True, True),
        (RunSamples(GIVEN, ASIDE, real=False), 5, True, False),  # --val-data, and nothing to train on
        (RunSamples(GIVEN, None, real=False), 6, False, False),  # whoever made them up looks at them twice
    ],
)
def test_samples_set_aside_come_first(samples: RunSamples, count: int, real: bool, seen: bool) -> None:
    source = in_memory(model(NET))
    row = samples.outputs_row(source, [source.clone()], PruneSettings())
    assert row is not None
    assert (row.samples, row.real, row.seen) == (count, real, seen)


def test_made_up_samples_are_drawn_anew() -> None:
    made = stand_in(in_memory(model(NET)), PruneSettings(), 6)
    compared, seen = RunSamples(made, None, real=False)._to_compare()
    assert (compared, seen) == (made.renewed(), False)
