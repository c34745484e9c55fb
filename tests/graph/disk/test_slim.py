"""A model without its weights: the message is the same but for them, and they are said to be where they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compressor.graph.disk.slim import KEEP_FROM, without_weights
from compressor.graph.tensors.weights import OWN
from tests.models import model

TEXT = """(float[1,8] x) => (float y) <float[8,4096] large, float[4096] small, float[8,4096] other> {
    a = MatMul(x, large) b = Add(a, small) c = MatMul(x, other) y = Add(b, c) }"""


def content() -> tuple[onnx.ModelProto, bytes]:
    proto = model(TEXT)
    # One of the large weights in fields of numbers, which take another form in the file.
    proto.graph.initializer[2].CopyFrom(
        onnx.helper.make_tensor("other", onnx.TensorProto.FLOAT, (8, 4096), np.ones(8 * 4096, np.float32))
    )
    proto.metadata_props.add(key="after", value="the graph")
    return proto, proto.SerializeToString()


def slim(data: bytes) -> onnx.ModelProto:
    found = without_weights(memoryview(data))
    assert found is not None
    return onnx.ModelProto.FromString(found)


def test_large_weights_stay_where_they_are() -> None:
    proto, data = content()
    found = slim(data)
    large, small, other = found.graph.initializer
    place = {entry.key: entry.value for entry in large.external_data}
    first, length = int(place["offset"]), int(place["length"])
    assert (place["location"], large.data_location, large.raw_data) == (OWN, onnx.TensorProto.EXTERNAL, b"")
    assert length == 8 * 4096 * 4 >= KEEP_FROM
    np.testing.assert_array_equal(
        np.frombuffer(data[first : first + length], np.float32).reshape(8, 4096),
        numpy_helper.to_array(proto.graph.initializer[0]),
    )
    assert (small, other) == (proto.graph.initializer[1], proto.graph.initializer[2])


def test_all_else_is_the_same() -> None:
    proto, data = content()
    found = slim(data)
    for one in (proto, found):
        del one.graph.initializer[:]
    assert found == proto


def test_weights_of_other_files_are_left_to_them() -> None:
    proto, _ = content()
    tensor = proto.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere")
    assert slim(proto.SerializeToString()) == proto


@pytest.mark.parametrize("damage", ["cut", "key", "varint", "twice"])
def test_what_is_no_plain_model_is_left_to_protobuf(damage: str) -> None:
    _, data = content()
    broken = {
        "cut": data[:-1],
        "key": data + b"\x07",  # a kind of field that there is not
        "varint": data + b"\xff" * 11,
        "twice": data + data,  # protobuf merges graphs
    }[damage]
    assert without_weights(memoryview(broken)) is None
