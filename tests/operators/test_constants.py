"""What is known of constant channels, and of the weights that read them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.channels.labels import Term
from compressor.config import PruneSettings
from compressor.operators.constants import ConstantOperand, Constants, broadcast_over, turned, uniform
from tests.models import in_memory, model
from tests.oracle import couple

NAN = np.nan


@pytest.mark.parametrize(
    ("axes", "expected"),
    [(("c",), [1.0, NAN]), (("s",), [NAN, NAN, NAN]), (("s", "c"), [[1, 2], [1, 3], [1, 4]]), ((), NAN)],
)
def test_one_number_at_each_position(axes: tuple[str, ...], expected: object) -> None:
    array = np.asarray([[1, 1, 1], [2, 3, 4]], np.float32)
    np.testing.assert_array_equal(uniform(array, ("c", "s"), axes), expected)


def test_an_axis_that_is_missing_has_size_one() -> None:
    assert uniform(np.ones((2, 3)), ("c", "s"), ("n", "c")).shape == (1, 2)
    assert broadcast_over(np.ones((4, 2)), ("s", "c"), ("c", "n", "s")).shape == (2, 1, 4)
    assert turned(np.ones((4, 2)), ("s", "c"), ("c", "s")).shape == (2, 4)


def test_a_weight_counts_for_those_that_are_live() -> None:
    """Inputs 0 and 1 are read by output 0, input 2 by output 1 alone."""
    outputs = Term(("o",), np.asarray([1, 2]))
    weight = ConstantOperand(np.asarray([[True, True, False], [False, False, True]]), ("o", "i"), (outputs,))
    assert weight.used(["i"]).tolist() == [True, True, True]
    live = np.asarray([False, True, False])
    assert weight.used(["i"], live).tolist() == [True, True, False]
    assert weight.used(["i"], live, ["o"]).tolist() == [True, True, True], "what is summed over waits for nobody"


def constants() -> tuple[Constants, dict[str, ir.Value]]:
    text = """(float[2,3] x) => (float[2,4] y) <float[3,4] w, float[4] b> {
        t = Neg(b)  r = RandomNormalLike(b)  a = MatMul(x, w)  c = Add(a, t)  y = Add(c, r) }"""
    coupling = couple(in_memory(model(text)), PruneSettings(ratio=0.5))[1]
    values = {str(v.name): v for node in coupling.graph for v in node.outputs}
    return Constants(coupling), {**values, **coupling.graph.initializers}


def test_what_follows_from_the_file_is_computed_when_it_is_asked_for() -> None:
    found, values = constants()
    b, t = found.array(values["b"]), found.array(values["t"])
    assert b is not None
    np.testing.assert_array_equal(t, -b)
    assert found.array(values["r"]) is None, "another number in each run"
    assert found.array(values["a"]) is None


def test_a_unit_is_known_where_all_its_positions_hold_one_number() -> None:
    found, values = constants()
    value = values["a"]
    units = np.asarray([[3, 4], [3, 4]])
    found.learn(value, [(units, np.asarray([[5.0, 1.0], [5.0, 2.0]]))])
    np.testing.assert_array_equal(found.known(value, np.asarray([3, 4, 9])), [5.0, NAN, NAN])
    found.learn(value, [(units, np.asarray([[np.inf, 1.0], [np.inf, 1.0]]))])
    known = found.known(value, np.asarray([3, 4]))
    np.testing.assert_array_equal(known, [NAN, 1.0], "infinity times zero is no number")
