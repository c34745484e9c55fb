"""Arrays as samples: which array is for which input, and what does not fit."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.config import DataSettings
from compressor.data.arrays import assign, from_arrays
from compressor.data.spec import InputSpec
from compressor.errors import UsageError

A, B = InputSpec("a", ir.DataType.FLOAT, ("n", 3)), InputSpec("b", ir.DataType.INT64, ("n",))


def numbers(n: int) -> dict[str, np.ndarray]:
    return {"a": np.arange(3.0 * n, dtype=np.float32).reshape(n, 3), "b": np.arange(n)}


@pytest.mark.parametrize(
    ("names", "specs", "labels", "chosen"),
    [
        (["a", "b", "y"], [A, B], None, ({"a": "a", "b": "b"}, "y")),
        (["x", "labels"], [A], None, ({"a": "x"}, "labels")),
        (["images"], [A], None, ({"a": "images"}, None)),
        (["a", "x"], [A], None, ({"a": "a"}, None)),
        (["a", "y", "z"], [A], "z", ({"a": "a"}, "z")),
        (["y"], [InputSpec("y", ir.DataType.FLOAT, ("n",))], None, ({"y": "y"}, None)),  # an input is no label
    ],
)
def test_which_array_is_for_what(names, specs, labels, chosen) -> None:
    assert assign(names, specs, DataSettings(labels=labels), "f.npz") == chosen


@pytest.mark.parametrize(
    ("names", "specs", "labels", "fact"),
    [
        (["c"], [A], None, r"f.npz: no array is named a \(or x\); it has c"),
        (["x"], [A, B], None, "no array is named a, b; it has x"),
        (["a"], [A], "z", "no array is named 'z' as --labels says; it has a"),
        ([], [A], None, "it has none"),
    ],
)
def test_what_is_missing_is_named(names, specs, labels, fact) -> None:
    with pytest.raises(UsageError, match=fact):
        assign(names, specs, DataSettings(labels=labels), "f.npz")


def test_samples_are_taken_in_the_order_asked_for() -> None:
    given = numbers(5)
    data = from_arrays(given, np.array([4, 3, 2, 1, 0]), [A, B], DataSettings(), "f.npz")
    batch = data.take(np.array([3, 0]))
    assert (len(data), data.labelled, len(batch)) == (5, True, 2)
    np.testing.assert_array_equal(batch.inputs["a"], given["a"][[3, 0]])
    np.testing.assert_array_equal(batch.inputs["b"], [3, 0])
    np.testing.assert_array_equal(batch.labels, [1, 4])


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"b": np.arange(4)}, r"inputs have different numbers of samples \(a: 5, b: 4\)"),
        ({"a": np.zeros((5, 2), np.float32)}, "array for 'a'"),
        ({"a": np.full((5, 3), np.nan, np.float32)}, "array for 'a' holds NaN or infinity in sample 0"),
        ({"a": np.zeros((0, 3), np.float32), "b": np.arange(0)}, r"there is no sample \(the data is 0x3, 0\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, np.ndarray], fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        from_arrays({**numbers(5), **change}, None, [A, B], DataSettings(), "f.npz")
