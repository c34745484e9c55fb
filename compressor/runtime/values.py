"""Between numpy and ONNX Runtime: element types that numpy lacks, and results that are no tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import ml_dtypes
import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.runtime.library import ort

_FOREIGN: Final = MappingProxyType(
    {
        "tensor(bfloat16)": (ir.DataType.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
        "tensor(float8e4m3fn)": (ir.DataType.FLOAT8E4M3FN, np.dtype(ml_dtypes.float8_e4m3fn)),
        "tensor(float8e4m3fnuz)": (ir.DataType.FLOAT8E4M3FNUZ, np.dtype(ml_dtypes.float8_e4m3fnuz)),
        "tensor(float8e5m2)": (ir.DataType.FLOAT8E5M2, np.dtype(ml_dtypes.float8_e5m2)),
        "tensor(float8e5m2fnuz)": (ir.DataType.FLOAT8E5M2FNUZ, np.dtype(ml_dtypes.float8_e5m2fnuz)),
    }
)
"""Types of ONNX Runtime that its Python interface neither takes from numpy nor gives to it, by their names there."""
_CODES: Final = MappingProxyType({dtype: int(code) for code, dtype in _FOREIGN.values()})


def caller(
    session: ort.InferenceSession, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
) -> Callable[[], list[Array]]:
    """A function that runs the session once on these feeds; what can be prepared is done before.

    Args:
        session: the session.
        feeds: input name -> array; arrays of bfloat16 and float8 are those of ml_dtypes.
        outputs: names of the outputs that are wanted; all by default.
    """
    wanted = list(outputs) if outputs else [o.name for o in session.get_outputs()]
    kinds = {o.name: o.type for o in session.get_outputs()}
    # The usual types go the short way, as numpy arrays.
    if not any(a.dtype in _CODES for a in feeds.values()) and not any(kinds.get(k) in _FOREIGN for k in wanted):
        return lambda: [as_array(value) for value in session.run(wanted, dict(feeds))]
    given = {name: to_runtime(array) for name, array in feeds.items()}
    return lambda: [_from_runtime(value) for value in session.run_with_ort_values(wanted, given)]


def as_array(value: Any) -> Array:
    """One array for whatever an output is: a tensor as it is; of a map its values in the order of the keys; of a
    sequence its entries, stacked where they have one shape and else flattened and joined."""
    if isinstance(value, Mapping):
        # Sorted, since the order of a map is nobody's promise.
        return np.asarray([value[key] for key in sorted(value)])
    if not isinstance(value, list):
        return np.asarray(value)
    entries = [as_array(entry) for entry in value]
    if len({entry.shape for entry in entries}) < 2:
        return np.stack(entries) if entries else np.zeros(0, np.float32)
    return np.concatenate([entry.ravel() for entry in entries])


def to_runtime(array: Array) -> ort.OrtValue:
    """The array as the runtime takes it; in the memory of the host it is not copied."""
    if array.dtype not in _CODES:
        return ort.OrtValue.ortvalue_from_numpy(array)
    # The same bytes as unsigned numbers, with their real type told beside.
    bits = np.ascontiguousarray(array).view(np.dtype(f"u{array.dtype.itemsize}"))
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _CODES[array.dtype])


def _from_runtime(value: ort.OrtValue) -> Array:
    """The array that an OrtValue in the memory of the host holds, copied where numpy lacks its type."""
    kind = value.data_type()
    if kind not in _FOREIGN:
        return np.asarray(value.numpy())
    # Copied, because the memory goes with the value.
    content = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(content, _FOREIGN[kind][1]).reshape(value.shape())
