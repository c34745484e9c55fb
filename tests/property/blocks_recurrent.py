"""Blocks on tokens (N,T,C): LSTM, GRU and RNN."""

from __future__ import annotations

import numpy as np

from .builder import Value
from .growing import Block
from .operators import Builder

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def zero_state(b: Builder, x: Value, directions: int, hidden: int) -> Value:
    """An initial state: learned and expanded over the batch, or zeros of a shape known at run time."""
    if b.chance(0.5):
        return b.expand(b.normal(directions, 1, hidden), (directions, x.shape[0], hidden), like=x)
    shape = b.op("Concat", b.ints(directions), b.batch_of(x), b.ints(hidden), shape=(3,), axis=0)
    return b.op("ConstantOfShape", shape, shape=(directions, x.shape[0], hidden))


def recurrent(b: Builder, x: Value, kind: str, directions: int, hidden: int) -> list[Value]:
    """Y of shape (T,directions,N,hidden), then the last states (directions,N,hidden)."""
    (n, t, c), rows = x.shape, GATES[kind] * hidden
    weights = [b.weight(directions, rows, c, fan_in=c), b.weight(directions, rows, hidden, fan_in=hidden)]
    has_state = b.chance(0.4)
    has_bias = has_state or b.chance(0.8)
    inputs: list[Value | None] = [b.transpose(x, 1, 0, 2), *weights]
    inputs += [b.normal(directions, 2 * rows)] * has_bias
    if has_state:
        states = 2 if kind == "LSTM" else 1
        inputs += [None, *(zero_state(b, x, directions, hidden) for _ in range(states))]
    attributes = {"hidden_size": hidden}
    attributes |= {"linear_before_reset": b.pick(0, 1)} if kind == "GRU" else {}
    direction = "bidirectional" if directions == 2 else b.pick("forward", "reverse")
    last = (directions, n, hidden)
    shapes = [(t, directions, n, hidden), last] + [last] * (kind == "LSTM")
    return b.ops(kind, inputs, shapes, direction=direction, **attributes)


def one_way(b: Builder, x: Value, kind: str) -> Value:
    """Every step's state, directions squeezed away."""
    y = recurrent(b, x, kind, 1, b.pick(5, 6, 8))[0]
    return b.transpose(b.squeeze(y, 1), 1, 0, 2)


def both_ways(b: Builder, x: Value, kind: str) -> Value:
    """The two directions beside one another in the channels."""
    hidden = b.pick(3, 4, 6)
    y = b.transpose(recurrent(b, x, kind, 2, hidden)[0], 2, 0, 1, 3)
    return b.reshape(y, *x.shape[:2], 2 * hidden)


def lstm(b: Builder, x: Value) -> Value:
    return one_way(b, x, "LSTM")


def gru(b: Builder, x: Value) -> Value:
    return one_way(b, x, "GRU")


def rnn(b: Builder, x: Value) -> Value:
    return one_way(b, x, "RNN")


def lstm_bidirectional(b: Builder, x: Value) -> Value:
    return both_ways(b, x, "LSTM")


def gru_bidirectional(b: Builder, x: Value) -> Value:
    return both_ways(b, x, "GRU")


def rnn_bidirectional(b: Builder, x: Value) -> Value:
    return both_ways(b, x, "RNN")


def lstm_last_state(b: Builder, x: Value) -> Value:
    """The last hidden state, added to every token through a linear layer."""
    _, state, _ = recurrent(b, x, "LSTM", 1, 6)
    state = b.transpose(state, 1, 0, 2)
    return b.op("Add", x, b.linear(state, x.width))


def lstm_stacked(b: Builder, x: Value) -> Value:
    """Two layers, the second started from the first one's last state."""
    hidden, (n, t, _) = 6, x.shape
    y, state, cell = recurrent(b, x, "LSTM", 1, hidden)
    weights = [b.weight(1, 4 * hidden, hidden, fan_in=hidden) for _ in range(2)]
    inputs = [b.squeeze(y, 1), *weights, b.normal(1, 8 * hidden), None, state, cell]
    y = b.ops("LSTM", inputs, [(t, 1, n, hidden)], hidden_size=hidden)[0]
    return b.transpose(b.squeeze(y, 1), 1, 0, 2)


def lstm_peephole(b: Builder, x: Value) -> Value:
    """Gates that see the cell."""
    (n, t, c), hidden = x.shape, 5
    weights = [b.weight(1, 4 * hidden, c, fan_in=c), b.weight(1, 4 * hidden, hidden, fan_in=hidden)]
    state = b.const(np.zeros((1, 1, hidden), np.float32))
    states = [b.expand(state, (1, n, hidden), like=x)] * 2
    inputs = [b.transpose(x, 1, 0, 2), *weights, b.normal(1, 8 * hidden), None, *states]
    y = b.ops("LSTM", [*inputs, b.normal(1, 3 * hidden)], [(t, 1, n, hidden)], hidden_size=hidden)[0]
    return b.transpose(b.squeeze(y, 1), 1, 0, 2)


BLOCKS = (
    Block("lstm", lstm, 1.5),
    Block("gru", gru, 1.5),
    Block("rnn", rnn),
    Block("lstm_bidirectional", lstm_bidirectional, 1.5),
    Block("gru_bidirectional", gru_bidirectional),
    Block("rnn_bidirectional", rnn_bidirectional),
    Block("lstm_last_state", lstm_last_state),
    Block("lstm_stacked", lstm_stacked),
    Block("lstm_peephole", lstm_peephole),
)
