"""Numbers of the data before they are used: are they finite, and do they fit the type that the model takes?"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.formatting import printable
from compressor.data.spec import InputSpec, dtype_name
from compressor.errors import UsageError
from compressor.operators.input_use import IndexedTable

CHUNK_BYTES = 1 << 24
"""Bytes that are looked at together, so that a mapped file is never in memory as a whole."""


def check_kind(spec: InputSpec, array: Array, place: str) -> None:
    """Refuses an element type that would have to be guessed at.

    Floating inputs take floating numbers and uint8, which counts as pixels; inputs of integers and booleans take
    integers and booleans; complex numbers and text take their own kind.

    Raises:
        UsageError: with the element type that the input takes.
    """
    kind = array.dtype.kind
    floating = spec.dtype.is_floating_point()
    if spec.dtype == ir.DataType.STRING:
        right = kind == "U" or (kind == "O" and all(isinstance(item, str) for item in array.flat))
    elif floating:
        right = kind == "f" or array.dtype == np.uint8 or array.dtype == spec.dtype.numpy()
    elif spec.dtype.numpy().kind == "c":
        right = kind == "c"
    else:
        right = kind in "biu"
    if not right:
        name = dtype_name(spec.dtype)
        raise UsageError(
            f"{spec.quoted} takes {name}, {place} is {array.dtype}; convert it, such as with .astype({name!r})"
        )


def check_values(spec: InputSpec, array: Array, place: str) -> None:
    """Looks at every number once.

    Raises:
        UsageError: a number is not finite, beyond what the input's type holds, or beyond the table that it picks from.
    """
    # Types that hold less than the input's cannot overflow it, and are not read.
    fits = array.dtype.kind != "f" and np.can_cast(array.dtype, spec.dtype.numpy())
    if array.dtype.kind not in "biuf" or (fits and spec.table is None):
        return
    limits = _limits(spec.dtype)
    for start, rows in chunks(array):
        # Smallest and largest tell NaN as well, as numpy hands it on.
        low, high = rows.min().item(), rows.max().item()
        if not (np.isfinite(low) and np.isfinite(high)):
            found = start + int(np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))[0])
            raise UsageError(f"{place} holds NaN or infinity in sample {found}; remove or repair such samples")
        if limits is not None and not (limits[0] <= low and high <= limits[1]):
            raise UsageError(
                f"{place} holds numbers from {low} to {high}, but {spec.quoted} takes {dtype_name(spec.dtype)}, "
                f"from {limits[0]:g} to {limits[1]:g}; scale or choose them to fit"
            )
        if spec.table is not None and not (-spec.table.rows <= low and high < spec.table.rows):
            _refuse_index(spec, spec.table, rows, start, place)


def _refuse_index(spec: InputSpec, table: IndexedTable, rows: Array, start: int, place: str) -> NoReturn:
    # Negative ones count from the back, as ONNX says of an index.
    numbers = rows.reshape(len(rows), -1).astype(np.int64)
    sample, entry = np.argwhere((numbers < -table.rows) | (numbers >= table.rows))[0]
    raise UsageError(
        f"{place} holds {numbers[sample, entry]} in sample {start + sample}, and {spec.quoted} picks "
        f"from a table of {table.rows:,} (node '{printable(table.node)}'); number them from 0 to {table.rows - 1} as "
        "this model does, such as with its own tokenizer"
    )


def chunks(array: Array) -> list[tuple[int, Array]]:
    """Parts of an array along its first axis, each with its start; none where there is no element."""
    if not array.size:
        return []
    rows = max(1, CHUNK_BYTES // max(array.nbytes // len(array), 1))
    return [(start, array[start : start + rows]) for start in range(0, len(array), rows)]


def _limits(dtype: ir.DataType) -> tuple[float, float] | None:
    if dtype == ir.DataType.BOOL:
        return 0, 1
    kind = dtype.numpy()
    if kind.kind in "iu":
        return int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    if kind.kind == "f":
        return float(np.finfo(kind).min), float(np.finfo(kind).max)
    return None  # types of ml_dtypes, which hold what they can
