"""What is said to move data moves it: every entry of the result is one of the operand."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.core.arrays import Array
from compressor.graph.ir.evaluate import evaluate
from compressor.graph.ir.movement import MOVEMENT, MOVES, Movement

DATA = np.arange(1, 17, dtype=np.float32).reshape(2, 4, 2)
IMAGE = DATA.reshape(1, 4, 2, 2)
ONE = np.asarray([1])
CALLS: dict[str, tuple[list[Array], dict[str, int]]] = {
    "Cast": ([DATA], {"to": int(ir.DataType.DOUBLE)}),
    "CastLike": ([DATA, np.zeros(1)], {}),
    "CenterCropPad": ([DATA, np.asarray([2, 6, 2])], {}),
    "Concat": ([DATA, -DATA], {"axis": 1}),
    "DepthToSpace": ([IMAGE], {"blocksize": 2}),
    "Dropout": ([DATA], {}),
    "Expand": ([DATA[:, :1], np.asarray([2, 4, 2])], {}),
    "Flatten": ([DATA], {}),
    "Gather": ([DATA, np.asarray([3, 0, 3])], {"axis": 1}),
    "GatherElements": ([DATA, np.ones((2, 2, 2), np.int64)], {"axis": 1}),
    "GatherND": ([DATA, np.asarray([[0, 3], [1, 2]])], {}),
    "Identity": ([DATA], {}),
    "Pad": ([DATA, np.asarray([0, 1, 0, 0, 0, 0])], {}),
    "Reshape": ([DATA, np.asarray([4, 4])], {}),
    "ReverseSequence": ([DATA, np.asarray([1, 2])], {"batch_axis": 0, "time_axis": 1}),
    "Slice": ([DATA, ONE, np.asarray([3]), ONE], {}),
    "SpaceToDepth": ([IMAGE], {"blocksize": 2}),
    "Split": ([DATA, np.asarray([1, 3])], {"axis": 1}),
    "Squeeze": ([DATA[:, :1], ONE], {}),
    "Tile": ([DATA, np.asarray([1, 2, 1])], {}),
    "Transpose": ([DATA], {}),
    "Trilu": ([DATA], {}),
    "Unsqueeze": ([DATA, ONE], {}),
}


def moved(op: str) -> list[Array]:
    arrays, attributes = CALLS[op]
    values = [ir.Value(name=f"x{k}") for k in range(len(arrays))]
    node = ir.node(op, values, attributes=attributes, num_outputs=2 if op == "Split" else 1)
    for k, value in enumerate(node.outputs):
        value.name = f"y{k}"
    found = evaluate(node, {f"x{k}": a for k, a in enumerate(arrays)}, {"": 20})
    assert found is not None
    return found


@pytest.mark.parametrize("op", MOVEMENT)
def test_entries_are_those_of_the_operands(op: str) -> None:
    first, *others = CALLS[op][0]
    entries = set(first.ravel().tolist())
    if MOVEMENT[op] is Movement.JOINS:
        entries |= {x for other in others for x in other.ravel().tolist()}
    if MOVEMENT[op] is Movement.ZEROS:
        entries.add(0.0)
    results = [set(found.ravel().tolist()) for found in moved(op)]
    assert all(made <= entries for made in results)
    if MOVEMENT[op] in (Movement.COPY, Movement.AXES):
        assert results == [entries]


def test_a_copy_and_a_turn_are_told_from_other_movement() -> None:
    assert np.array_equal(moved("Identity")[0], DATA)
    assert sorted(moved("Transpose")[0].shape) == sorted(DATA.shape)
    assert {op for op in CALLS if MOVEMENT[op] is not Movement.ZEROS} == MOVES
