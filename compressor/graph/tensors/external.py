"""Tensor data, inside the model file or beside it: is it where it says, and as long as it says?

External data must lie in the model's own folder, or in that of the file that the model's path leads to: caches of
models keep files under the names of their contents, and links to them under the names that the model knows. ONNX
Runtime draws the same line. Advisories CVE-2022-25882, CVE-2024-27318, CVE-2026-27489, CVE-2026-34446 and
CVE-2026-34447 show one way out of it after the other (``..``, symbolic links, hard links), so it is the file at the
end of all links that is looked at here, whatever the libraries below check.
"""

from __future__ import annotations

import posixpath
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Final

import onnx
import onnx_ir as ir

from compressor.errors import ModelError
from compressor.graph.ir.walk import bodies, quoted, tensors
from compressor.graph.tensors.weights import OWN

MAX_TENSOR_BYTES: Final = 1 << 36
"""64 GiB: a tensor that declares more is refused, even where a sparse file would back it."""
MAX_RANK: Final = 32
"""Axes that a tensor may have, in model files and in those of samples: as many as numpy knew for long."""
MAX_NESTED_BYTES: Final = 1 << 31
"""External data of attributes and subgraphs is read into memory: together no more than a file could hold."""

_KEYS: Final = frozenset({"location", "offset", "length", "checksum"})
_UNSIZED: Final = (ir.DataType.UNDEFINED, ir.DataType.STRING)
_DATA_FIELDS: Final = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_FIELD_OF: Final = MappingProxyType(
    {
        ir.DataType.FLOAT: "float_data",
        ir.DataType.COMPLEX64: "float_data",
        ir.DataType.DOUBLE: "double_data",
        ir.DataType.COMPLEX128: "double_data",
        ir.DataType.INT64: "int64_data",
        ir.DataType.UINT32: "uint64_data",
        ir.DataType.UINT64: "uint64_data",
        ir.DataType.STRING: "string_data",
    }
)
"""Field of onnx.proto that holds the data type when it is not raw; every other type is in ``int32_data``."""


@dataclass(frozen=True)
class Extent:
    """Where the bytes of an external tensor lie."""

    file: Path
    offset: int
    length: int


def check_tensors(model: onnx.ModelProto, own: Path) -> set[Path]:
    """Check the data of every tensor of the model and return the external files it uses.

    Args:
        model: the parsed file.
        own: the model file, in whose folder external data lies, and which may hold weights that the message leaves
            out (:mod:`compressor.graph.disk.slim`).

    Raises:
        ModelError: a tensor's data is missing, unsafe to reach, or not as long as its type and shape say.
    """
    files: set[Path] = set()
    for body in bodies(model):
        for tensor in tensors(body):
            files |= check_tensor(tensor, own)
    return files


def check_tensor(tensor: onnx.TensorProto, own: Path) -> set[Path]:
    """Check the data of one tensor; arguments, result and errors as of :func:`check_tensors`."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return {extent(tensor, own).file}
    _check_embedded(tensor)
    return set()


def embed_nested(model: onnx.ModelProto, own: Path) -> None:
    """Read the external data of attributes and subgraphs into the model, leaving that of the main graph.

    The model in memory maps main-graph initializers from their file; for the rest it knows no folder.

    Raises:
        ModelError: that data is larger than ``MAX_NESTED_BYTES``.
    """
    total = 0
    for position, body in enumerate(bodies(model)):
        # Initializers come first among the tensors of a graph, and those of the main graph stay in their file.
        mapped = len(model.graph.initializer) if position == 0 else 0
        for tensor in islice(tensors(body), mapped, None):
            total += embed(tensor, own, MAX_NESTED_BYTES - total)


def embed(tensor: onnx.TensorProto, own: Path, room: int) -> int:
    """Read the external data of a tensor, if it has such, into the message.

    Returns:
        Bytes read.

    Raises:
        ModelError: as :func:`extent`, or there are more than ``room`` of them.
    """
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return 0
    where = extent(tensor, own)
    if where.length > room:
        raise ModelError("attributes and subgraphs refer to more than 2 GiB of external data")
    with where.file.open("rb") as file:
        file.seek(where.offset)
        tensor.raw_data = file.read(where.length)
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    return where.length


def extent(tensor: onnx.TensorProto, own: Path) -> Extent:
    """Where an external tensor lies.

    Args:
        tensor: a tensor whose ``data_location`` is EXTERNAL.
        own: the model file, in whose folder it lies, and which ``OWN`` stands for; an absolute path.

    Raises:
        ModelError: the location leaves the model's folder, the file is missing, or offset and length do not fit the
            file or the tensor's type and shape.
    """
    name = f"external tensor {quoted(tensor.name)}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    # Readers differ on which of two equal keys counts.
    if len(entries) != len(tensor.external_data) or not entries.keys() <= _KEYS:
        raise ModelError(f"{name} has repeated or unknown external-data keys; save the model again with onnx")
    if not all(isinstance(text, str) for text in entries.values()):
        # The protobuf library hands out what is not UTF-8 as bytes.
        raise ModelError(f"{name} has external data at a place that is not UTF-8; rename the file")
    dtype, count = declared_tensor(tensor, name)
    if dtype in _UNSIZED or any(len(getattr(tensor, field)) for field in (*_DATA_FIELDS, "raw_data")):
        raise ModelError(f"{name} is a string or also holds data of its own; store it one way")
    needed = (count * dtype.bitwidth + 7) // 8
    location = entries.get("location", "")
    file = own if location == OWN else _contained(location, own, name)
    size = file.stat().st_size
    offset = _number(entries.get("offset", "0"), "offset", name)
    length = _number(entries.get("length", str(needed)), "length", name)
    if length != needed:
        raise ModelError(f"{name} has {length} bytes, but its type and shape need {needed}; export it again")
    if offset + length > size:
        raise ModelError(f"{name} ends at byte {offset + length} of a file of {size}; copy the whole file")
    return Extent(file, offset, length)


def _number(text: str, key: str, name: str) -> int:
    # 19 digits hold every 64-bit size; longer texts are not turned into numbers at all.
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise ModelError(f"{name} has {key} {quoted(text)}, which is not a number of bytes")
    return int(text)


def _contained(location: str, own: Path, name: str) -> Path:
    """The real path of the file at a location beside the model file ``own``."""
    # A file may come from Windows or be read there, so what leaves a folder there is refused everywhere.
    windows = PureWindowsPath(location)
    foreign = "\\" in location or "\0" in location or windows.anchor or windows.drive
    if foreign or location.startswith("/") or posixpath.normpath(location).split("/")[0] == "..":
        raise ModelError(f"{name} is at {quoted(location)}, outside the model's folder; move it there")
    if location.rsplit("/", maxsplit=1)[-1] in ("", "."):
        raise ModelError(f"{name} is at {quoted(location)}, which is not a regular file; put the data in one")
    try:
        real = (own.parent / location).resolve(strict=True)
        status = real.stat()
    except (OSError, RuntimeError) as error:
        # Links that go in a circle are a RuntimeError up to Python 3.12.
        reason = getattr(error, "strerror", None) or "cannot be read"
        raise ModelError(f"{name} is in {quoted(location)}: {reason}; put it beside the model") from None
    if not any(real.is_relative_to(root) for root in {own.parent.resolve(), own.resolve().parent}):
        raise ModelError(f"{name} is reached through a link that leaves the model's folder; put the real file there")
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{name} is at {quoted(location)}, which is not a regular file; put the data there")
    # The other name may lie outside the folder.
    if status.st_nlink > 1:
        raise ModelError(f"{name} is in {quoted(location)}, which has other hard links; copy the file")
    return real


def declared_tensor(tensor: onnx.TensorProto, name: str) -> tuple[ir.DataType, int]:
    """Data type and number of elements that a tensor, which messages call ``name``, declares, within what can exist.

    Raises:
        ModelError: the type is unknown, or the shape is none that a tensor could have.
    """
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        dtype = ir.DataType.UNDEFINED
    if dtype == ir.DataType.UNDEFINED:
        raise ModelError(f"{name} has the unknown data type {tensor.data_type}; export it with a known one")
    bits = 8 if dtype == ir.DataType.STRING else dtype.bitwidth
    count, bound = 1, bits
    for size in tensor.dims:
        # A zero among the sizes would hide that the others are impossible.
        count, bound = count * size, bound * max(size, 1)
        if size < 0 or bound > 8 * MAX_TENSOR_BYTES or len(tensor.dims) > MAX_RANK:
            raise ModelError(f"{name} declares an impossible shape of rank {len(tensor.dims)}; export it again")
    return dtype, count


def _check_embedded(tensor: onnx.TensorProto) -> None:
    """Compare the data inside the model file with the declared type and shape, allocating nothing for it."""
    name = f"tensor {quoted(tensor.name)}"
    dtype, count = declared_tensor(tensor, name)
    if tensor.external_data:
        raise ModelError(f"{name} names an external file, but is not marked external; save it again")
    filled = [field for field in _DATA_FIELDS if len(getattr(tensor, field))]
    if tensor.HasField("raw_data"):
        if filled or dtype == ir.DataType.STRING:
            raise ModelError(f"{name} holds its data twice or in the wrong field; save the model again")
        present, needed, unit = len(tensor.raw_data), (count * dtype.bitwidth + 7) // 8, "bytes"
    else:
        field = _FIELD_OF.get(dtype, "int32_data")
        if filled not in ([], [field]):
            raise ModelError(f"{name} holds its data in the wrong field ({filled[0]}); save the model again")
        present, needed, unit = len(getattr(tensor, field)), _entries(dtype, count), f"entries in {field}"
    if present != needed:
        raise ModelError(f"{name} has {present} {unit}, but its type and shape need {needed}; export it again")


def _entries(dtype: ir.DataType, count: int) -> int:
    """Entries of a typed data field: complex numbers take two, 4-bit and 2-bit ones share a byte."""
    if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        return 2 * count
    if dtype != ir.DataType.STRING and dtype.bitwidth < 6:
        per_byte = 8 // dtype.bitwidth
        return -(-count // per_byte)
    return count
