"""Stored coefficients take a bit each and what is no zero, and come back to their bits."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.errors import ProofFailed
from compressor.structures.interspace import store
from compressor.structures.interspace.store import with_stored
from tests.models import in_memory, model
from tests.reconstruct.case import noise, outputs

TEXT = "(float[1,8,6,6] x) => (float y) <float[32,8,3,3] w> { y = Conv(x, w) }"


def _sparse(scale: float = 1.0) -> tuple[ir.Model, np.ndarray]:
    source = in_memory(model(TEXT))
    array = np.where(np.random.default_rng(0).random((32, 8, 3, 3)) < 0.1, noise(32, 8, 3, 3) * scale, 0)
    array = array.astype(np.float16).astype(np.float32)
    source.graph.initializers["w"].const_value = ir.tensor(array, name="w")
    return source, array


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_they_come_back(dtype: str) -> None:
    source, array = _sparse()
    done = with_stored(source, ["w"], dtype)
    feeds = {"x": noise(1, 8, 6, 6)}
    np.testing.assert_array_equal(outputs(done, feeds)[0], outputs(source, feeds)[0])
    tensors = [v.const_value for v in done.graph.initializers.values() if v.const_value is not None]
    held = sum(t.nbytes for t in tensors if t.dtype in (ir.DataType.FLOAT16, ir.DataType.FLOAT) and t.size > 2)
    assert held == (array != 0).sum() * np.dtype(dtype).itemsize
    bits = [t for t in tensors if t.dtype == ir.DataType.UINT8 and t.size == array.size // 8]
    assert len(bits) == 1


def test_a_bit_that_differs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = store._packed

    def wrong(array: np.ndarray) -> store.Packed:
        packed = real(array)
        # What is installed and what is held against it differ in one coefficient.
        monkeypatch.setattr(store, "install", _install_shifted)
        return packed

    def _install_shifted(model: ir.Model, parts: dict[ir.Value, store.Packed]) -> None:
        (value,) = parts
        array = np.array(parts[value].decode())
        array.ravel()[np.flatnonzero(array)[0]] *= np.float16(1.001)
        install(model, {value: real(array)})

    install = store.install
    monkeypatch.setattr(store, "_packed", wrong)
    with pytest.raises(ProofFailed, match="bits"):
        with_stored(_sparse()[0], ["w"], "float16")
