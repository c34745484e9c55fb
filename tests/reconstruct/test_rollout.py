"""Steps of sequences: which hidden states each reads, in every layout."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.operators.recurrence import HIDDEN, LENGTHS
from compressor.reconstruct.rollout import Sequences
from tests.reconstruct.case import noise

STEPS, SAMPLES, UNITS = 3, 2, 2
# All hidden states [steps, directions, samples, hidden] and first ones [directions, samples, hidden].
Y = noise(STEPS, 2, SAMPLES, UNITS)
START = noise(2, SAMPLES, UNITS, seed=1)
X = noise(STEPS, SAMPLES, 5, seed=2)
LENGTHS_OF = np.array([3, 2], np.int32)


def sequences(**attributes: str | int) -> Sequences:
    return Sequences.of(ir.node("LSTM", [ir.Value(name="x")], attributes))


def test_steps_read_the_hidden_states_of_the_step_before() -> None:
    rows = sequences(direction="bidirectional").rows({0: X, HIDDEN: START}, Y)
    before = rows.before.reshape(2, STEPS, SAMPLES, UNITS)
    assert np.array_equal(before[0], [START[0], Y[0, 0], Y[1, 0]])
    assert np.array_equal(before[1], [Y[1, 1], Y[2, 1], START[1]])
    assert np.array_equal(rows.after.reshape(2, STEPS, SAMPLES, UNITS), Y.swapaxes(0, 1))


def test_without_a_first_state_it_is_zero() -> None:
    before = sequences(direction="reverse").rows({0: X}, Y[:, 1:]).before.reshape(STEPS, SAMPLES, UNITS)
    assert np.array_equal(before, [Y[1, 1], Y[2, 1], np.zeros_like(START[0])])


def test_a_shorter_sequence_turns_around_at_its_own_end() -> None:
    rows = sequences(direction="bidirectional").rows({0: X, LENGTHS: LENGTHS_OF, HIDDEN: START}, Y)
    # Step by step: both samples, both, the first alone.
    assert np.array_equal(rows.x, [X[0, 0], X[0, 1], X[1, 0], X[1, 1], X[2, 0]])
    back = [Y[1, 1, 0], Y[1, 1, 1], Y[2, 1, 0], START[1, 1], START[1, 0]]
    assert np.array_equal(rows.before[1], back)
    assert np.array_equal(rows.before[0], [START[0, 0], START[0, 1], Y[0, 0, 0], Y[0, 0, 1], Y[1, 0, 0]])


@pytest.mark.parametrize("few", [1, SAMPLES])
def test_samples_may_come_first(few: int) -> None:
    given = {0: X, LENGTHS: LENGTHS_OF, HIDDEN: START}
    swapped = {0: X.swapaxes(0, 1), LENGTHS: LENGTHS_OF, HIDDEN: START.swapaxes(0, 1)}
    both = sequences(direction="bidirectional"), sequences(direction="bidirectional", layout=1)
    one, two = (
        way.rows(*way.first(few * STEPS, read, y))
        for way, read, y in zip(both, (given, swapped), (Y, Y.transpose(2, 0, 1, 3)), strict=True)
    )
    assert np.array_equal(one.x, two.x)
    assert np.array_equal(one.before, two.before)
    assert np.array_equal(one.after, two.after)
    assert len(one.x) == LENGTHS_OF[:few].sum()
