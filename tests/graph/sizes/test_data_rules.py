"""Arithmetic on sizes, element by element, against ONNX's reference with numbers put in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.graph.ir.evaluate import evaluate
from compressor.graph.sizes.data_rules import follow
from compressor.graph.sizes.dims import Size, substitute, symbol
from compressor.graph.sizes.shape_rules import Operands

N, T = symbol("N"), symbol("T")
INT = ir.DataType.INT64
OPSETS = {"": 18}


def followed(op: str, data: Sequence[np.ndarray], **attributes: int) -> list[np.ndarray] | None:
    names = count()
    fresh = lambda: symbol(f"fresh{next(names)}")  # noqa: E731
    node = ir.node(op, [ir.Value(name=f"x{k}") for k in range(len(data))], attributes, num_outputs=1)
    node.outputs[0].name = "y"
    of = Operands(node, [array.shape for array in data], data, fresh, fresh, lambda one, two: None)
    return follow(of, [INT] * len(data), OPSETS)


def ran(op: str, data: Sequence[np.ndarray], **attributes: int) -> list[np.ndarray]:
    node = ir.node(op, [ir.Value(name=f"x{k}") for k in range(len(data))], attributes, num_outputs=1)
    node.outputs[0].name = "y"
    found = evaluate(node, {f"x{k}": array for k, array in enumerate(data)}, OPSETS)
    assert found is not None
    return found


def sizes(*entries: object) -> np.ndarray:
    made = np.empty(len(entries), object)
    made[:] = entries
    return made


def put_in(array: np.ndarray, n: int, t: int) -> np.ndarray:
    return np.asarray([substitute(e, {"N": n, "T": t}) if isinstance(e, Size) else e for e in array.ravel()]).reshape(
        array.shape
    )


SHAPE, OTHER = sizes(N, 12, T * 8), sizes(2, N, 4)
CASES = {
    **{op: (op, (SHAPE, OTHER), {}) for op in ("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min")},
    "Neg": ("Neg", (SHAPE,), {}),
    "ReduceProd": ("ReduceProd", (SHAPE,), {"keepdims": 0}),
    "ReduceSum of an axis": ("ReduceSum", (SHAPE.reshape(3, 1), np.asarray([-2])), {}),
    "ReduceSum of axes": ("ReduceSum", (SHAPE.reshape(1, 3, 1), np.asarray([0, 1])), {"keepdims": 0}),
    "ReduceMax": ("ReduceMax", (SHAPE,), {}),
    "Gather": ("Gather", (SHAPE, np.asarray([2, -3])), {"axis": 0}),
    "Concat": ("Concat", (SHAPE, np.asarray([-1])), {"axis": 0}),
    "Slice": ("Slice", (SHAPE, np.asarray([1]), np.asarray([3])), {}),
    "Unsqueeze": ("Unsqueeze", (SHAPE, np.asarray([0])), {}),
    "Equal": ("Equal", (sizes(N, N), sizes(N, N + 1)), {}),
    "Less": ("Less", (sizes(N, T + 1), sizes(N + 1, 0)), {}),
    "Where": ("Where", (np.asarray([True, False, True]), SHAPE, OTHER), {}),
}


@pytest.mark.parametrize("name", CASES)
@given(st.integers(1, 9), st.integers(1, 9))
def test_numbers_may_be_put_in_before_or_after(name: str, n: int, t: int) -> None:
    op, data, attributes = CASES[name]
    found = followed(op, data, **attributes)
    assert found is not None
    plain = [array if array.dtype == np.bool_ else put_in(array, n, t).astype(np.int64) for array in data]
    for got, want in zip(found, ran(op, plain, **attributes), strict=True):
        np.testing.assert_array_equal(put_in(got, n, t).astype(want.dtype), want)


def test_what_cannot_be_followed_is_a_size_of_its_own() -> None:
    found = followed("Less", (sizes(N, 1), sizes(T, 2)))
    assert found is not None
    assert isinstance(found[0][0], Size), "N may be below T or not"
    assert found[0][1] is True
    positive = followed("Greater", (sizes(N), sizes(0)))
    assert positive is not None
    assert isinstance(positive[0][0], Size), "N may be 0"
    assert followed("Gather", (SHAPE, sizes(N, 1))) is None, "which elements are picked is not known"
    assert followed("Sqrt", (SHAPE,)) is None
    assert followed("Mod", (SHAPE, OTHER), fmod=1) is None, "the sign would be the dividend's"
