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
