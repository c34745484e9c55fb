"""A recurrent layer step by step: what each step reads and gives, and the layer run alone with other weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.scratch import scratch
from compressor.operators.recurrence import HIDDEN, LENGTHS, X, backwards

NodeInputs = Mapping[int, Array]
"""Arrays by the number of the input of a recurrent node."""


@dataclass(frozen=True)
class StepRows:
    """The steps of all sequences of a batch, one after another; none behind the end of a sequence.

    Attributes:
        x: what a step reads, [steps, inputs].
        before: hidden states that it reads, [directions, steps, hidden].
        after: hidden states that it gives, of the same shape.
    """

    x: Array
    before: Array
    after: Array


@dataclass(frozen=True)
class Sequences:
    """How a recurrent node lays out its data.

    Attributes:
        batch_first: samples come before steps, and before directions.
        backwards: for each direction, whether it begins with the last step.
    """

    batch_first: bool
    backwards: tuple[bool, ...]

    @staticmethod
    def of(node: ir.Node) -> Sequences:
        """As the attributes of ``node`` say."""
        attributes = node.attributes
        return Sequences(bool(attributes.get_int("layout", 0)), backwards(attributes.get_string("direction", None)))

    def first(self, rows: float, given: NodeInputs, y: Array) -> tuple[NodeInputs, Array]:
        """The first samples of a batch, as many as have so many ``rows``: inputs, and all hidden states."""
        steps = given[X].shape[1 if self.batch_first else 0]
        few = slice(int(np.ceil(rows / max(steps, 1))))
        if self.batch_first:
            return {k: array[few] for k, array in given.items()}, y[few]
        return {k: array[few] if k == LENGTHS else array[:, few] for k, array in given.items()}, y[:, :, few]

    def rows(self, given: NodeInputs, y: Array) -> StepRows:
        """The steps of a batch, of which ``y`` holds all hidden states as the node lays them out."""
        # Directions first, then steps and samples.
        after = y.transpose(2, 1, 0, 3) if self.batch_first else y.swapaxes(0, 1)
        inside = self._inside(given)
        return StepRows(self.inputs(given), self._before(after, given)[:, inside], after[:, inside])

    def inputs(self, given: NodeInputs) -> Array:
        """What the steps of a batch read, [steps, inputs], as in :class:`StepRows`."""
        x = given[X].swapaxes(0, 1) if self.batch_first else given[X]
        return np.asarray(x[self._inside(given)])

    def _inside(self, given: NodeInputs) -> npt.NDArray[np.bool_]:
        """Which steps of which samples are computed: bool[steps, samples]."""
        steps, samples = given[X].shape[1::-1] if self.batch_first else given[X].shape[:2]
        lengths = given.get(LENGTHS, np.full(samples, steps))
        return np.asarray(np.arange(steps)[:, None] < lengths)

    def _before(self, after: Array, given: NodeInputs) -> Array:
        """Hidden states one step earlier; before the first step those that are given, or zero."""
        first = given.get(HIDDEN, np.zeros_like(after[:, 0]))
        if self.batch_first and HIDDEN in given:
            first = first.swapaxes(0, 1)
        found = np.empty_like(after)
        for own, states, start, reverse in zip(found, after, first, self.backwards, strict=True):
            if not reverse:
                own[:] = np.concatenate([start[None], states[:-1]])
                continue
            own[:] = np.concatenate([states[1:], start[None]])
            if LENGTHS in given:
                # A shorter sequence turns around at its own end.
                samples = np.flatnonzero(given[LENGTHS])
                own[np.asarray(given[LENGTHS], np.int64)[samples] - 1, samples] = start[samples]
        return found


class Rollout:
    """A recurrent node alone, all its inputs fed."""

    def __init__(self, node: ir.Node, model: ir.Model, given: NodeInputs, provider: str) -> None:
        """``given`` holds arrays like those that it will be run on; inputs that it lacks are left out."""
        from compressor.runtime import sessions  # noqa: PLC0415 - 0.2 s that most commands need not pay

        values = {k: _like(f"input{k}", array) for k, array in given.items()}
        inputs = [values.get(k) for k in range(max(values) + 1)]
        states = ir.Value(name="states", type=ir.TensorType(ir.DataType.from_numpy(given[X].dtype)))
        alone = ir.Node(node.domain, node.op_type, inputs, node.attributes.values(), outputs=[states])
        opsets = dict(model.opset_imports)
        graph = ir.Graph(list(values.values()), [states], nodes=[alone], opset_imports=opsets, name="alone")
        with scratch() as folder:
            path = Path(folder) / "alone.onnx"
            ir.save(ir.Model(graph, ir_version=model.ir_version), path)
            self._session: Any = sessions.start_session(path, provider, sessions.Setup(polite=True))

    def __call__(self, given: NodeInputs) -> Array:
        """All hidden states, as the node lays them out."""
        from compressor.runtime import sessions  # noqa: PLC0415 - as above

        return sessions.run_session(self._session, {f"input{k}": array for k, array in given.items()})[0]


def _like(name: str, array: Array) -> ir.Value:
    shape = ir.Shape([None] * array.ndim)
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.from_numpy(array.dtype)), shape=shape)
