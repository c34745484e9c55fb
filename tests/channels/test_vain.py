"""Units that were brought in vain."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.channels.labels import Reason, Units
from compressor.channels.vain import NO_AXIS, in_vain

STOPPED = Reason("v", "0", "n", "it is computed at run time")


def vector(size: int) -> ir.Value:
    tensor = ir.tensor(np.ones(size, np.float32), name="v")
    return ir.Value(name="v", shape=ir.Shape([size]), type=ir.TensorType(ir.DataType.FLOAT), const_value=tensor)


@pytest.fixture
def stopped() -> tuple[Units, np.ndarray]:
    units = Units()
    own = units.fresh(4)
    units.freeze(own, STOPPED)
    return units, own


@pytest.mark.parametrize("axis", [0, NO_AXIS])
def test_what_is_closed_is_not_found_again(stopped: tuple[Units, np.ndarray], axis: int) -> None:
    """A rule may bring units along an axis that is closed; the coupling would start anew for ever."""
    units, own = stopped
    value = vector(4)
    graph = ir.Graph([], [], nodes=[], initializers=[value])
    assert graph.initializers["v"] is value
    assert in_vain({(value, axis): own}, units, set()) == {(value, axis)}
    assert in_vain({(value, axis): own}, units, {(value, axis)}) == set()


def test_units_that_may_go_are_not_in_vain() -> None:
    units = Units()
    value = vector(4)
    graph = ir.Graph([], [], nodes=[], initializers=[value])
    assert graph.initializers
    assert in_vain({(value, 0): units.fresh(4)}, units, set()) == set()


@pytest.mark.parametrize("merged", [True, False])
def test_a_matrix_is_in_vain_only_where_its_units_merged_others(merged: bool) -> None:
    units = Units()
    tensor = ir.tensor(np.ones((3, 4), np.float32), name="v")
    value = ir.Value(name="v", shape=ir.Shape([3, 4]), type=ir.TensorType(ir.DataType.FLOAT), const_value=tensor)
    graph = ir.Graph([], [], nodes=[], initializers=[value])
    assert graph.initializers
    own, others = units.fresh(4), units.fresh(8).reshape(4, 2)
    units.merge_along(others, [1], STOPPED, own if merged else None)
    assert in_vain({(value, 1): own}, units, set()) == set()
    units.freeze(own, STOPPED)
    assert in_vain({(value, 1): own}, units, set()) == ({(value, 1)} if merged else set())


def test_what_lacks_a_partner_waits_for_what_stopped_by_itself() -> None:
    """The partner may have lost its units in vain, and finds them once those that took them are closed."""
    units = Units()
    values = {}
    for name, unmatched in (("first", True), ("second", False)):
        tensor = ir.tensor(np.ones((3, 4), np.float32), name=name)
        value = ir.Value(name=name, shape=ir.Shape([3, 4]), type=ir.TensorType(ir.DataType.FLOAT), const_value=tensor)
        own = units.fresh(4)
        units.merge_along(units.fresh(8).reshape(4, 2), [1], STOPPED, own)
        units.freeze(own, Reason("v", "1", "n", "it is stopped", unmatched=unmatched))
        values[value, 1] = own
    graph = ir.Graph([], [], nodes=[], initializers=[value for value, _ in values])
    assert graph.initializers
    first, second = values
    assert in_vain(values, units, set()) == {second}
    assert in_vain(values, units, {second}) == {first}
