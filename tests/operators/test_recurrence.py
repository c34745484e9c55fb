"""Positions, gates and directions of recurrent nodes are those of the standard."""

from __future__ import annotations

import onnx
import pytest

from compressor.operators import recurrence
from compressor.operators.recurrence import GATE_COUNTS, backwards

NAMES = {
    "X": recurrence.X, "W": recurrence.W, "R": recurrence.R, "B": recurrence.B, "sequence_lens": recurrence.LENGTHS,
    "initial_h": recurrence.HIDDEN, "initial_c": recurrence.CELL, "P": recurrence.PEEPHOLES,
}  # fmt: skip


@pytest.mark.parametrize("op", GATE_COUNTS)
def test_inputs_stand_where_the_schema_has_them(op: str) -> None:
    inputs = [given.name for given in onnx.defs.get_schema(op).inputs]
    assert {name: inputs.index(name) for name in inputs} == {name: NAMES[name] for name in inputs}


def test_directions() -> None:
    ways = onnx.defs.get_schema("LSTM").attributes["direction"].default_value.s.decode()
    assert backwards(None) == backwards(ways) == (False,)
    assert backwards("bidirectional") == (False, True)
