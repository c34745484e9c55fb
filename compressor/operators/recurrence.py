"""Where everything stands in a recurrent node (ONNX LSTM-22, GRU-22, RNN-22)."""

from __future__ import annotations

from types import MappingProxyType

X, W, R, B, LENGTHS, HIDDEN, CELL, PEEPHOLES = range(8)
"""Inputs: data, weights [directions, gates * hidden, read] of the data and of the hidden states, their biases (those of
W, then those of R), lengths of the sequences, states before the first step, what gates read of the cell."""
STATES = (HIDDEN, CELL)
CONSTANTS = (W, R, B, PEEPHOLES)
"""Inputs that a node learns."""
GATE_COUNTS = MappingProxyType({"LSTM": 4, "GRU": 3, "RNN": 1})
"""Gates of each operator, which weights and biases hold one after the other, all hidden units of one together."""
PEEPHOLE_GATES = 3
"""Gates that read the cell (ONNX LSTM-22): input, output and forget, but not the one that makes new values."""
_BACKWARDS = MappingProxyType({"forward": (False,), "reverse": (True,), "bidirectional": (False, True)})


def backwards(direction: str | None) -> tuple[bool, ...]:
    """For each direction that attribute ``direction`` names, whether it begins with the last step."""
    return _BACKWARDS[direction or "forward"]
