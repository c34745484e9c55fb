"""A model written weight by weight is the model, whole in one file or with data beside it."""

from __future__ import annotations

import errno
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import CompressorError
from compressor.graph.disk import stream
from compressor.graph.disk.stream import plan_files
from tests.models import in_memory, model

NET = """(float[n,4] x) => (float[n,301] y) <float[301] b, float[4,301] w, float[301] d, int64[2] k = {1, 2}> {
    a = MatMul(x, w) c = Add(a, b) y = Add(c, d) }"""


def weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}


@settings(max_examples=25)
@given(st.lists(st.integers(1, 700), max_size=4))
def test_what_is_written_is_the_model(widths: list[int]) -> None:
    declared = ", ".join(["float s", *(f"float[{width},2] w{k}" for k, width in enumerate(widths))])
    proto = model(f"(float x) => (float y) <{declared}> {{ y = Mul(x, s) }}")
    plan, file = plan_files(in_memory(proto)), BytesIO()
    plan.write(file)
    found = onnx.ModelProto.FromString(file.getvalue())
    assert plan.size == len(file.getvalue())
    assert [n.op_type for n in found.graph.node] == ["Mul"]
    for name, array in weights(proto).items():
        np.testing.assert_array_equal(weights(found)[name], array)


def test_large_weights_lie_beside_it_where_they_can_be_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LARGE", 4000)  # of those that leave the file, one is
    proto = model(NET)
    plan, file, data = plan_files(in_memory(proto), lambda name: "weights.bin"), BytesIO(), BytesIO()
    plan.write(file)
    plan.write_data("weights.bin", data)
    found = {t.name: t for t in onnx.ModelProto.FromString(file.getvalue()).graph.initializer}
    offsets = {}
    for name in ("b", "w", "d"):
        told = {entry.key: entry.value for entry in found[name].external_data}
        offsets[name], length = int(told["offset"]), int(told["length"])
        held = np.frombuffer(data.getvalue()[offsets[name] :][:length], np.float32)
        np.testing.assert_array_equal(held, weights(proto)[name].ravel())
        assert not found[name].raw_data
    assert offsets["w"] % 4096 == offsets["d"] % 64 == 0
    assert found["k"].data_location == onnx.TensorProto.DEFAULT, "what is small stays where tools look for it"


def test_the_same_model_gives_the_same_bytes_and_stays_as_it_is() -> None:
    held = in_memory(model(NET))
    files = [BytesIO(), BytesIO()]
    for file in files:
        plan_files(held).write(file)
    assert files[0].getvalue() == files[1].getvalue()
    assert all(value.const_value is not None for value in held.graph.initializers.values())


def test_an_initializer_without_data_is_refused() -> None:
    held = in_memory(model(NET))
    held.graph.initializers["w"] = ir.Value(name="w", shape=ir.Shape([4, 301]), type=ir.TensorType(ir.DataType.FLOAT))
    with pytest.raises(CompressorError, match="'w' has no data"):
        plan_files(held)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_called_full() -> None:
    held = in_memory(model(NET))
    # The first that is written: an array in memory.
    held.graph.initializers["b"].const_value = ir.tensor(np.zeros(9999, np.float32), name="b")
    plan = plan_files(held, lambda name: "weights.bin")
    with pytest.raises(OSError, match="No space left") as caught, Path("/dev/full").open("wb") as full:
        plan.write_data("weights.bin", full)
    assert caught.value.errno == errno.ENOSPC
