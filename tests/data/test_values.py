"""Numbers of the data: element types that are taken, and numbers that do not fit."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.data import values
from compressor.data.spec import InputSpec
from compressor.data.values import check_kind, check_values, chunks
from compressor.errors import UsageError
from compressor.operators.input_use import IndexedTable

D = ir.DataType


def spec(dtype: ir.DataType) -> InputSpec:
    return InputSpec("x", dtype, ("n", 2))


@pytest.mark.parametrize(
    ("dtype", "given", "taken"),
    [
        (D.FLOAT, "float64", True),
        (D.FLOAT, "uint8", True),  # pixels
        (D.FLOAT, "int64", False),
        (D.FLOAT, "bool", False),
        (D.INT64, "int8", True),
        (D.INT64, "bool", True),
        (D.INT64, "float32", False),
        (D.BOOL, "int32", True),
        (D.COMPLEX64, "complex128", True),
        (D.COMPLEX64, "float32", False),
        (D.STRING, "U3", True),
        (D.STRING, "int8", False),
        (D.FLOAT, "U3", False),
    ],
)
def test_element_types(dtype: ir.DataType, given: str, taken: bool) -> None:
    array = np.zeros((2, 2), given)
    if taken:
        check_kind(spec(dtype), array, "a.npz")
        return
    with pytest.raises(UsageError, match=r"input 'x' takes .*, a.npz is .*; convert it, such as with .astype"):
        check_kind(spec(dtype), array, "a.npz")


def test_objects_are_text_where_each_is() -> None:
    check_kind(spec(D.STRING), np.array([["a", "bc"]], object), "here")
    with pytest.raises(UsageError, match="takes string"):
        check_kind(spec(D.STRING), np.array([["a", 3]], object), "here")


@pytest.mark.parametrize(
    ("dtype", "number", "fact"),
    [
        (D.FLOAT, np.float64(np.nan), "holds NaN or infinity in sample 2"),
        (D.FLOAT, np.float32(-np.inf), "holds NaN or infinity in sample 2"),
        (D.FLOAT16, np.float32(70_000), "takes float16, from -65504 to 65504; scale"),
        (D.INT8, np.int64(-129), "from -129 to 0, but input 'x' takes int8, from -128 to 127"),
        (D.UINT8, np.int16(256), "from 0 to 255"),
        (D.BOOL, np.int64(2), "takes bool, from 0 to 1"),
    ],
)
def test_numbers_that_do_not_fit(dtype: ir.DataType, number: np.generic, fact: str, monkeypatch) -> None:
    array = np.zeros((4, 2), number.dtype)
    check_values(spec(dtype), array, "here")
    array[2, 1] = number
    for size in (values.CHUNK_BYTES, 1):  # all rows at once, and one by one
        monkeypatch.setattr(values, "CHUNK_BYTES", size)
        with pytest.raises(UsageError, match=fact):
            check_values(spec(dtype), array, "here")


def test_chunks_hold_all_rows_once(monkeypatch) -> None:
    array = np.arange(10, dtype=np.int32).reshape(5, 2)
    monkeypatch.setattr(values, "CHUNK_BYTES", 16)
    found = chunks(array)
    assert [start for start, _ in found] == [0, 2, 4]
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in found]), array)
    assert chunks(np.zeros((3, 0))) == []


def test_an_index_lies_within_the_table_that_it_picks_from(monkeypatch) -> None:
    array = np.array([[0, 199], [-200, 5], [3, 4], [7, 7]])
    ids = InputSpec("ids", D.INT64, ("n", 2), IndexedTable(200, "embed"))
    check_values(ids, array, "a.npz")
    for size in (values.CHUNK_BYTES, 1):
        monkeypatch.setattr(values, "CHUNK_BYTES", size)
        for number in (200, -201):
            array[3, 1] = number
            told = f"a.npz holds {number} in sample 3, and input 'ids' picks from a table of 200 .node 'embed'"
            with pytest.raises(UsageError, match=told):
                check_values(ids, array, "a.npz")
