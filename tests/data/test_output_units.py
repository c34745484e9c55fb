"""Parts of an output in units of their own: what is told apart, what is not, and how far models are apart then."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.config import DataSettings, PruneSettings
from compressor.data.output_units import OutputUnits, farthest
from compressor.evaluate.likeness import outputs_row
from compressor.evaluate.resemblance import ComparedOutputs
from compressor.experiments.change import ReferenceOutputs
from tests.models import in_memory, model
from tests.reconstruct.case import Arrays, noise

CLASSES, PLACES = 6, 50
DETECTOR = """(float[n,8,{places}] x) => (float[n,{rows},{places}] y)
    <float[4,8] b, float[{classes},8] c, float[1] mid = {{320}}, float[1] px = {{60}}, float[1] damage = {{0}}> {{
        p = MatMul(b, x)  q = Mul(p, px)  boxes = Add(q, mid)
        s = MatMul(c, x)  rest = Sub(s, damage)  t = Sigmoid(rest)  y = Concat<axis=1>(boxes, t) }}"""


def detector(damage: float = 0.0):
    """A head [n, 4 + classes, places]: boxes around 320 pixels, scores from 0 to 1."""
    proto = model(DETECTOR.format(places=PLACES, rows=4 + CLASSES, classes=CLASSES))
    weights = {t.name: t for t in proto.graph.initializer}
    weights["damage"].float_data[:] = [damage]
    return in_memory(proto)


def rows(rng: np.random.Generator, *sizes: float, places: int = 30) -> np.ndarray:
    return np.stack([size * rng.uniform(0.5, 1, (3, places)) for size in sizes], axis=1).astype(np.float32)


BOXES = (300.0, 200.0, 90.0, 120.0)


@pytest.mark.parametrize(
    ("sizes", "starts"),
    [
        ((*BOXES, 0.01, 0.2, 0.05), (4,)),
        ((*BOXES, 0.01), (4,)),
        ((*BOXES, 0.9, 0.01, 0.2, 0.05), (4,)),
        ((*BOXES, 0.01, 0.02, 3.0, 2.0, 4.0), (4, 6)),
        ((1.0, 2.0, 0.5, 8.0), ()),
        ((1.0, 1000.0, 1.0), (1, 2)),
        ((5.0, 4.0, 0.0), ()),
        ((0.0, 0.0, 0.0), ()),
    ],
)
def test_parts_of_a_detector_are_found_with_channels_first_and_last(sizes, starts):
    values = rows(np.random.default_rng(0), *sizes)
    found = OutputUnits.of(values)
    assert (found.axis, found.starts) == (1 if starts else found.axis, starts)
    last = OutputUnits.of(values.transpose(0, 2, 1))
    assert (last.axis, last.starts) == (2 if starts else last.axis, starts)
    maps = OutputUnits.of(values.reshape(*values.shape[:2], 5, 6))
    assert maps.starts == starts


def test_scores_embeddings_probabilities_and_what_is_no_number_are_in_one_unit():
    rng = np.random.default_rng(0)
    likely = rng.dirichlet([1000.0, 1, 1], (4, 20)).astype(np.float32)
    for values in (
        rng.normal(size=(4, 3)) * [1000, 1, 1],
        likely,
        likely.transpose(0, 2, 1),
        rng.normal(size=(2, 7, 40)),
        np.arange(24).reshape(2, 3, 4),
        np.zeros((0, 3, 4), np.float32),
        np.float32(1),
    ):
        assert OutputUnits.of(np.asarray(values)).starts == ()


def test_one_sample_without_the_difference_makes_one_unit():
    values = rows(np.random.default_rng(0), *BOXES, 0.1)
    values[1, 4] = 100
    assert OutputUnits.of(values).starts == ()


def test_the_part_that_moved_most_counts():
    values = rows(np.random.default_rng(0), *BOXES, 0.1, 0.2)
    moved = values.copy()
    moved[:, 4:] = 0
    units = OutputUnits.of(values)
    assert farthest(units.squares(values, moved)) == pytest.approx(1.0)
    assert farthest(units.squares(values, moved[:, :-1])) == np.inf
    assert farthest(OutputUnits().squares(values, moved)) < 0.01
    # Runs at other sizes may have fewer rows than the first.
    assert farthest(units.squares(values[:, :3], values[:, :3])) == 0


def test_damaged_scores_beside_boxes_in_pixels_are_seen_by_every_comparison(tmp_path):
    original, damaged = detector(), detector(8.0)
    data = Arrays(x=noise(40, 8, PLACES))
    row = outputs_row([original, damaged, damaged], data, PruneSettings(ratio=0.5), count=40)
    assert row is not None
    assert row.distance.cut == row.distance.value > 0.9
    assert row.distance.low == pytest.approx(row.distance.value, abs=0.05)
    reference = ReferenceOutputs.make(original, data, DataSettings.parse({"samples": 40, "batch_size": 16}), tmp_path)
    assert reference.change(damaged).distance == pytest.approx(row.distance.value, rel=0.01)
    before = rows(np.random.default_rng(0), *BOXES, 0.1)
    after = before * np.array([1, 1, 1, 1, 0], np.float32)[:, None]
    compared = ComparedOutputs()
    compared.decide({"y": before}, 3)
    np.testing.assert_allclose(compared.compare("y", before, after)["relative_error"], 1)
