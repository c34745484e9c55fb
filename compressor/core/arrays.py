"""Types of arrays, for annotations; arrays in files of numpy's own form."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes  # noqa: F401 - numpy knows these types by name from here on
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
"""Of any elements that numpy knows."""
Mask = npt.NDArray[np.bool_]
"""Of what stays, counts or is known."""
Floats = npt.NDArray[np.float64]
"""Of real numbers, which are computed with in double precision."""


def plain(array: Array) -> Array:
    """The array itself, or one of text where it holds objects: its bytes would be addresses, and no file takes them."""
    # Files of objects would need pickle, which runs code when it is read.
    return array.astype(str) if array.dtype == object else array


def save_array(path: Path | str, array: Array) -> None:
    """Writes an array of any type that models give, for :func:`load_array`."""
    array = plain(array)
    # A file says no more of bfloat16 and float8 than their size, so the name goes with them as that of a field.
    if array.dtype.isbuiltin == 2:  # types that others added to numpy
        array = np.asarray(array, order="C").view(np.dtype([(array.dtype.name, f"u{array.dtype.itemsize}")]))
    np.save(path, array, allow_pickle=False)


def load_array(path: Path | str) -> Array:
    """What :func:`save_array` wrote; text where it was strings."""
    found: Array = np.load(path, allow_pickle=False)
    return found if found.dtype.names is None else found.view(np.dtype(found.dtype.names[0]))
