"""A model as a stream of bytes: weights go to the file one by one, never together through one message.

Protobuf lets fields follow in any order, so a model is its fields without the graph, then the graph: its
fields without the initializers, then each initializer. Lengths are known before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final

import onnx
import onnx_ir as ir

from compressor.errors import CompressorError
from compressor.graph.ir.meta_keys import MAPS
from compressor.graph.ir.walk import bodies, innermost, quoted, tensors
from compressor.graph.tensors.weights import DerivedTensor, DiskTensor

EXTERNAL_FROM_BYTES: Final = 1024
"""Smaller tensors stay in the model file, where runtimes and tools look for shapes and axes."""
_PAGE: Final = 4096
_LARGE: Final = 1 << 20
"""Where tensors begin: large ones on a page, so that they can be mapped, others on a line of the processor's cache."""


@dataclass(frozen=True)
class InitializerBytes:
    """One initializer: its description, and the weights that follow it in the same file, if any."""

    header: bytes
    weights: ir.TensorProtocol | None

    @cached_property
    def prefix(self) -> bytes:
        """Everything of the tensor message but the weights."""
        if self.weights is None:
            return self.header
        return self.header + field_key(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, self.weights.nbytes)

    @cached_property
    def length(self) -> int:
        """Bytes of the tensor message."""
        return len(self.prefix) + (self.weights.nbytes if self.weights is not None else 0)


@dataclass(frozen=True)
class FileLayout:
    """Where every byte of a model goes.

    Attributes:
        head: the model without its graph.
        graph: the graph without its initializers.
        pieces: the initializers.
        external: for each data file, by name: offset and weights of those that are stored there.
    """

    head: bytes
    graph: bytes
    pieces: tuple[InitializerBytes, ...]
    external: Mapping[str, Sequence[tuple[int, ir.TensorProtocol]]]

    @cached_property
    def graph_length(self) -> int:
        """Bytes of the graph message."""
        initializers = (len(_initializer_key(piece)) + piece.length for piece in self.pieces)
        return len(self.graph) + sum(initializers)

    @property
    def size(self) -> int:
        """Bytes of the model file."""
        key = field_key(onnx.ModelProto.GRAPH_FIELD_NUMBER, self.graph_length)
        return len(self.head) + len(key) + self.graph_length

    @property
    def total(self) -> int:
        """Bytes of the model file and of those of its external data."""
        last = (weights[-1] for weights in self.external.values())
        return self.size + sum(offset + tensor.nbytes for offset, tensor in last)

    def write(self, file: BinaryIO) -> None:
        """Write the model file."""
        file.write(self.head)
        file.write(field_key(onnx.ModelProto.GRAPH_FIELD_NUMBER, self.graph_length))
        file.write(self.graph)
        for piece in self.pieces:
            file.write(_initializer_key(piece))
            file.write(piece.prefix)
            if piece.weights is not None:
                _write_weights(piece.weights, file)

    def write_data(self, name: str, file: BinaryIO) -> None:
        """Write the data file of this name."""
        for offset, weights in self.external[name]:
            # Zeros up to the place at which the weights may start.
            file.write(bytes(offset - file.tell()))
            _write_weights(weights, file)


def plan_files(model: ir.Model, data_file: Callable[[str], str] | None = None) -> FileLayout:
    """Plan the files of a model, without touching its weights.

    Args:
        model: the model; unchanged when this returns.
        data_file: from the name of an initializer of ``EXTERNAL_FROM_BYTES`` and more to that of the file which takes
            its weights; None keeps them inside.

    Raises:
        CompressorError: an initializer has no data, or something cannot be serialised.
    """
    proto, weights = placeholder_proto(model)
    pieces: list[InitializerBytes] = []
    external: dict[str, list[tuple[int, ir.TensorProtocol]]] = {}
    for header in proto.graph.initializer:
        tensor = weights.get(header.name)
        if tensor is not None:
            header.ClearField("external_data")
            header.ClearField("data_location")
            if data_file is not None and tensor.nbytes >= EXTERNAL_FROM_BYTES:
                file = data_file(header.name)
                offset = _append(external.setdefault(file, []), tensor)
                _refer(header, file, offset, tensor.nbytes)
                tensor = None  # nothing of it follows in the model file
        pieces.append(InitializerBytes(header.SerializeToString(deterministic=True), tensor))
    known = {header.name for header in proto.graph.initializer}
    graph = proto.graph
    # The tensors state their own types and shapes; a second statement can only be redundant or stale.
    kept = [info for info in graph.value_info if info.name not in known or info.metadata_props]
    fields = onnx.GraphProto()
    graph.ClearField("initializer")
    for value in graph.output:
        if value.name in model.graph.meta.get(MAPS, {}):
            value.type.CopyFrom(model.graph.meta[MAPS][value.name])
    fields.CopyFrom(graph)
    fields.ClearField("value_info")
    fields.value_info.extend(kept)
    proto.ClearField("graph")
    # Deterministic: the same model gives the same bytes.
    head = proto.SerializeToString(deterministic=True)
    return FileLayout(head, fields.SerializeToString(deterministic=True), tuple(pieces), external)


def write_beside(model: ir.Model, path: Path) -> None:
    """Writes a model to a new place of this process, weights beside it, for a reader that is here; raises OSError.

    What is to last goes through :func:`compressor.graph.disk.files.save_model`.
    """
    layout = plan_files(model, lambda _: f"{path.stem}.data")
    for name in layout.external:
        with path.with_name(name).open("wb") as file:
            layout.write_data(name, file)
    with path.open("wb") as file:
        layout.write(file)


def _append(file: list[tuple[int, ir.TensorProtocol]], tensor: ir.TensorProtocol) -> int:
    """Puts a tensor at the end of a data file, at an address that can be mapped; returns its offset."""
    last, before = file[-1] if file else (0, None)
    end = last + (before.nbytes if before is not None else 0)
    # Large weights start on a page, which mapping into memory asks for; for small ones that would waste room.
    step = _PAGE if tensor.nbytes >= _LARGE else 64
    offset = -(-end // step) * step
    file.append((offset, tensor))
    return offset


def placeholder_proto(model: ir.Model) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """The model as a message whose initializers are placeholders, and their tensors by name; strings stay."""
    held: list[tuple[ir.Value, ir.TensorProtocol]] = []
    try:
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None:
                raise CompressorError(f"initializer {quoted(name)} has no data to write")
            if tensor.dtype != ir.DataType.STRING:
                held.append((value, tensor))
                # Without a placeholder, `to_proto` would copy all weights into the message.
                value.const_value = _placeholder(name, tensor)
        proto = ir.to_proto(model)
    except ir.serde.SerdeError as error:
        raise CompressorError(f"the model cannot be serialised: {innermost(error)}") from error
    finally:
        # The model is the caller's and gets its weights back whatever happens.
        for value, tensor in held:
            value.const_value = tensor
    weights = {value.name or "": tensor for value, tensor in held}
    everywhere = (tensor for body in bodies(proto) for tensor in tensors(body))
    external = {tensor.name for tensor in everywhere if tensor.data_location == onnx.TensorProto.EXTERNAL}
    for name in sorted(external - weights.keys()):
        raise CompressorError(f"tensor {quoted(name)} of a subgraph or attribute is external; embed it")
    return proto, weights


def _placeholder(name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        "",
        None,
        None,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=name,
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


def _refer(header: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    header.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        header.external_data.add(key=key, value=value)


def _write_weights(tensor: ir.TensorProtocol, file: BinaryIO) -> None:
    start = file.tell()
    if isinstance(tensor, DiskTensor | DerivedTensor):
        tensor.tofile(file)
    else:
        # Not by `tofile` of numpy, which says of a full disk how many numbers it took, and not that it is full.
        file.write(tensor.tobytes())
    if file.tell() - start != tensor.nbytes:
        raise CompressorError(f"tensor {quoted(tensor.name or '')} has not the bytes that it declares")


def _initializer_key(piece: InitializerBytes) -> bytes:
    return field_key(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, piece.length)


def field_key(field: int, length: int) -> bytes:
    """Start of a length-delimited protobuf field: ``field << 3 | 2`` and the length, as base-128 varints."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
