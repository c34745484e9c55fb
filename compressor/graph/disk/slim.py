"""A model file without its weights: these stay where they are, and the message that is parsed is small.

Protobuf reads a file by copying every byte of it, twice with the buffer. The wire format is simple enough to step over
the weights: a message is a row of fields, each a key and either a varint, 4 or 8 bytes, or a length and as many bytes
(https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import onnx

from compressor.graph.disk.stream import field_key
from compressor.graph.tensors.weights import OWN

KEEP_FROM: Final = 1 << 16
"""Bytes of the smallest weight that is left in the file."""
MOST_FIELDS: Final = 1 << 22
"""Fields that are stepped over one by one; a file of more is left to the protobuf library, which is faster at that."""
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_GRAPH: Final = onnx.ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER: Final = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_RAW: Final = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
_PLACED: Final = (onnx.TensorProto.EXTERNAL_DATA_FIELD_NUMBER, onnx.TensorProto.DATA_LOCATION_FIELD_NUMBER)

FieldSpan = tuple[int, int, int, int]
"""Number of a field, where its key starts, where its content starts, and where it ends."""


class _Odd(Exception):  # noqa: N818 - a signal inside this module
    """The bytes are not those of a plain model; protobuf has to say what they are."""


def without_weights(content: memoryview) -> bytes | None:
    """The bytes of a model in which large weights are said to lie in the model's own file.

    Args:
        content: the whole file.

    Returns:
        A message of the same meaning; None where the file is not written as usual, so that the protobuf library has
        to read it as it is.
    """
    try:
        fields = list(_fields(content, 0, len(content)))
        graphs = [field for field in fields if field[0] == _GRAPH]
        # Protobuf would merge several graphs into one.
        if len(graphs) != 1:
            return None
        graph = b"".join(_graph(content, graphs[0]))
        pieces = []
        for number, key, _, end in fields:
            if number == _GRAPH:
                pieces += [field_key(_GRAPH, len(graph)), graph]
            else:
                pieces.append(bytes(content[key:end]))
        return b"".join(pieces)
    except _Odd:
        return None


def _graph(content: memoryview, graph: FieldSpan) -> Iterator[bytes]:
    """The fields of the graph; runs of those that stay as they are come in one piece."""
    _, _, start, stop = graph
    copied = start
    for number, key, inner, end in _fields(content, start, stop):
        if number != _INITIALIZER or end - inner < KEEP_FROM:
            continue
        tensor = _tensor(content, inner, end)
        if tensor is not None:
            yield bytes(content[copied:key])
            yield field_key(_INITIALIZER, len(tensor))
            yield tensor
            copied = end
    yield bytes(content[copied:stop])


def _tensor(content: memoryview, start: int, stop: int) -> bytes | None:
    """A tensor whose weights stay in the file; None where they are few, or in another form."""
    fields = list(_fields(content, start, stop))
    raw = [field for field in fields if field[0] == _RAW]
    # Weights that are said to lie elsewhere already are none of this file.
    if len(raw) != 1 or raw[0][3] - raw[0][2] < KEEP_FROM or any(field[0] in _PLACED for field in fields):
        return None
    _, key, first, last = raw[0]
    placed = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    for name, text in (("location", OWN), ("offset", str(first)), ("length", str(last - first))):
        placed.external_data.add(key=name, value=text)
    where: bytes = placed.SerializeToString()
    # The order of fields does not matter to protobuf, so what was added may come last.
    return bytes(content[start:key]) + bytes(content[last:stop]) + where


def _fields(content: memoryview, start: int, stop: int) -> Iterator[FieldSpan]:
    position, count = start, 0
    while position < stop:
        count += 1
        if count > MOST_FIELDS:
            raise _Odd
        key = position
        tag, position = _varint(content, position, stop)
        number, kind = tag >> 3, tag & 7
        first = position
        if kind == _VARINT:
            _, position = _varint(content, position, stop)
        elif kind == _FIXED64:
            position += 8
        elif kind == _FIXED32:
            position += 4
        elif kind == _LENGTH:
            length, first = _varint(content, position, stop)
            position = first + length
        else:
            raise _Odd
        # Cut short, or no message at all.
        if not number or position > stop:
            raise _Odd
        yield number, key, first, position


def _varint(content: memoryview, position: int, stop: int) -> tuple[int, int]:
    number = shift = 0
    # A varint of more than 64 bits is damaged.
    while position < stop and shift < 64:
        byte = content[position]
        number |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return number, position
        shift += 7
    raise _Odd
