"""Arrays of an ``.npz`` file, mapped where they are stored uncompressed; nothing in it is ever unpickled.

The file is untrusted. It is a zip archive of ``.npy`` members; what a member declares is held against what the
archive holds before anything of that size is allocated, and checksums are verified.
"""

from __future__ import annotations

import math
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.lib import format as npy

from compressor.core.arrays import Array
from compressor.core.formatting import printable, quantity
from compressor.errors import UsageError
from compressor.graph.tensors.external import MAX_RANK

MAX_LOADED: Final = 1 << 33
"""8 GiB: compressed arrays are held in memory, together no more than this. Uncompressed ones are mapped."""
MAX_MEMBERS: Final = 4096
"""Arrays of a file, at most: each costs a look into the archive, which a hostile one could list by the million."""
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_CHUNK: Final = 1 << 24
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, EOFError, OSError, ValueError, TypeError,
    KeyError, IndexError, OverflowError, SyntaxError, NotImplementedError, RuntimeError, MemoryError, RecursionError,
)  # fmt: skip
"""What the zip and npy readers of the standard library and numpy raise on damaged files."""


@dataclass(frozen=True)
class Header:
    """What a ``.npy`` member says of itself."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]
    offset: int
    """Bytes before the data."""


class NpzFile:
    """The arrays of a file by name, read when asked for.

    Raises:
        UsageError: the file is missing, damaged or no ``.npz`` file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # A pipe or device could block for ever, or give other bytes when it is read again.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise UsageError(f"{path} is not a regular file; give an .npz file")
            with zipfile.ZipFile(path) as archive:
                members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        except OSError as error:
            reason = error.strerror or "cannot be read"
            raise UsageError(f"{path}: {reason}; give an .npz file that can be read") from None
        except _BROKEN as error:
            raise UsageError(f"{path} is not an .npz file ({_first_line(error)}); write it with numpy.savez") from None
        self._members = {info.filename.removesuffix(".npy"): info for info in members}
        # A zip may hold a name twice, and readers differ in which one they take.
        if len(self._members) != len(members) or len(members) > MAX_MEMBERS:
            raise UsageError(f"{path} has arrays of the same name, or over {MAX_MEMBERS}; write it with numpy.savez")
        self._loaded = 0

    @property
    def names(self) -> list[str]:
        """Names of all arrays in the file."""
        return list(self._members)

    def read(self, names: Collection[str]) -> dict[str, Array]:
        """The arrays called ``names``, read-only where they are mapped.

        Raises:
            UsageError: one is pickled, damaged, of a type that is no number or text, or too large to be loaded.
        """
        found = {}
        for name in names:
            place = f"{self.path}: array {printable(name)!r}"
            try:
                found[name] = self._read(self._members[name], place)
            except _BROKEN as error:
                raise UsageError(f"{place} is damaged ({_first_line(error)}); write the file again") from None
        return found

    def _read(self, info: zipfile.ZipInfo, place: str) -> Array:
        with zipfile.ZipFile(self.path) as archive, archive.open(info) as member:
            header = _header(member)
            # Before anything is allocated, as the header may claim any size.
            _check(header, info.file_size, place)
            if info.compress_type != zipfile.ZIP_STORED:
                # Counted over all reads, so that many arrays together stay within the limit.
                self._loaded += info.file_size
                if self._loaded > MAX_LOADED:
                    raise UsageError(
                        f"{place} needs {quantity(self._loaded, 'B')} of memory unpacked; "
                        "write the file with numpy.savez, not savez_compressed, so that it is mapped"
                    )
                return _load(member, header)
        return _map(self.path, info, header)


def _header(member: IO[bytes]) -> Header:
    version = npy.read_magic(member)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(member)
    else:
        raise ValueError(f"npy version {version[0]}.{version[1]} is for structured arrays")
    return Header(shape, fortran, dtype, member.tell())


def _check(header: Header, size: int, place: str) -> None:
    # Reading objects means unpickling, which runs code.
    if header.dtype.hasobject:
        raise UsageError(
            f"{place} is pickled, which can run any code when it is read, and is refused; write it as numbers, "
            "such as numpy.savez(path, x=x.astype('float32'))"
        )
    if header.dtype.kind not in "biufcU":
        raise UsageError(f"{place} has elements of type {printable(header.dtype)}; write numbers, such as float32")
    if len(header.shape) > MAX_RANK or any(extent < 0 for extent in header.shape):
        raise ValueError("impossible shape")
    # A shape that promises more than the member holds would read beyond it.
    if math.prod(header.shape) * header.dtype.itemsize != size - header.offset:
        raise ValueError("its shape does not fit its size")


def _load(member: IO[bytes], header: Header) -> Array:
    """Unpacks into memory; the checksum is verified at the end of the member."""
    flat: Array = np.empty(math.prod(header.shape), header.dtype)
    view = memoryview(flat.view(np.uint8).data) if flat.nbytes else memoryview(b"")
    start = 0
    while start < len(view):
        part = member.read(min(_CHUNK, len(view) - start))
        if not part:
            raise EOFError("it ends early")
        view[start : start + len(part)] = part
        start += len(part)
    member.read()  # the reader compares the checksum when it meets the end
    return flat.reshape(header.shape, order="F" if header.fortran else "C")


def _map(path: Path, info: zipfile.ZipInfo, header: Header) -> Array:
    """Maps the bytes of a stored member, after one pass over them for the checksum."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        # The local header and not the directory: its own lengths say where the data begins.
        signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        start = info.header_offset + _LOCAL_HEADER.size + name + extra
        if signature != b"PK\x03\x04" or info.compress_size != info.file_size:
            raise zipfile.BadZipFile("a bad local header")
        if start + info.file_size > os.fstat(file.fileno()).st_size:
            raise EOFError("it ends early")
        file.seek(start)
        checksum, left = 0, info.file_size
        while left and (part := file.read(min(_CHUNK, left))):
            checksum, left = zlib.crc32(part, checksum), left - len(part)
        # numpy's mapping would never look at the checksum.
        if checksum != info.CRC or left:
            raise zipfile.BadZipFile("its checksum is wrong")
    # An empty file region cannot be mapped.
    if not math.prod(header.shape) * header.dtype.itemsize:
        return np.empty(header.shape, header.dtype)
    order = "F" if header.fortran else "C"
    return np.memmap(path, header.dtype, "r", start + header.offset, header.shape, order)  # type: ignore[call-overload, no-any-return]


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()
    return printable(text[0][:200] if text and text[0] else type(error).__name__)
