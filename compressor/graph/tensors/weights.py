"""Weights that stay in their file: read where they are used, part by part, and given back.

A model of ten gigabytes is opened, scored, cut and written in a fraction of its size, because nothing here holds a
weight: :class:`DiskTensor` maps its file, and :class:`DerivedTensor` is what a cut or a mask leaves of another tensor,
made anew whenever it is read.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from math import prod
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.core.arrays import Array, Mask
from compressor.core.compare import is_finite, same_bits
from compressor.graph.ir.nodes import dims_of

FromRows = Callable[[Array, int], Array]
"""From rows of a tensor, and the number of the first of them, to what is left of these rows."""

PART_BYTES: Final = 1 << 26
"""Bytes of the largest part of a weight that is worked on at a time."""
LARGE_MODEL: Final = 1 << 28
"""Bytes of weights from which on a model is large: its weights stay on disk, also those that are cut or masked, and it
is written with external data."""

COPIES_KEPT: Final = 1 << 27
"""Bytes of a file that are kept as aligned copies: a small model is read many times over, and a large one is not to be
in memory."""

OWN: Final = "\0own"
"""Location of weights that lie in the model file itself; no file has such a name."""


class DataFile:
    """A file of weights, opened when it was checked, and mapped once for all of them.

    A mapping for each weight would run into the number of mappings that a process may have (65,530 on Linux).

    Args:
        path: the file; it is opened at once, so that what is read later is what was checked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._copies: dict[tuple[int, int], npt.NDArray[np.uint8]] = {}
        self._room = COPIES_KEPT
        with path.open("rb") as file:
            self._map: mmap.mmap | bytes = b""
            # An empty file cannot be mapped.
            if path.stat().st_size:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def bytes(self) -> npt.NDArray[np.uint8]:
        """All of it; uint8[size of the file]."""
        return np.frombuffer(self._map, np.uint8)

    def aligned(self, start: int, end: int) -> npt.NDArray[np.uint8]:
        """A copy of some of the bytes at an address that numbers of every type may have; uint8[end - start]."""
        copy = self._copies.get((start, end))
        if copy is None:
            copy = self.bytes[start:end].copy()
            copy.flags.writeable = False  # as what is mapped
            if copy.nbytes <= self._room:
                self._room -= copy.nbytes
                self._copies[start, end] = copy
        return copy

    def give_back(self, start: int, end: int) -> None:
        """Tells the system that these bytes are not needed now; they are read again if they are."""
        advice = getattr(mmap, "MADV_DONTNEED", None)
        if isinstance(self._map, mmap.mmap) and advice is not None:
            # The system takes whole pages only.
            first = start - start % mmap.PAGESIZE
            self._map.madvise(advice, first, min(end, len(self._map)) - first)


class DiskTensor(ir.ExternalTensor):
    """A weight in a file.

    Args:
        tensor: what says where it lies; checked by :mod:`compressor.graph.tensors.external`.
        file: the file that it lies in.
    """

    def __init__(self, tensor: ir.ExternalTensor, file: DataFile) -> None:
        super().__init__(
            file.path.name,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=tensor.shape,
            name=tensor.name,
            doc_string=tensor.doc_string,
            metadata_props=tensor.metadata_props,
            base_dir=file.path.parent,
        )
        self._file = file

    @property
    def whole_bytes(self) -> bool:
        """Does each element take whole bytes, so that it can be read in parts?"""
        return self.dtype.bitwidth % 8 == 0

    def numpy(self) -> Array:
        """A view of the file; a copy where the file holds it at an address that numbers of its type may not have."""
        # Elements that share bytes cannot be viewed as numbers.
        if not self.whole_bytes:
            packed = self.part(0, self.nbytes)
            tensor = ir.PackedTensor(packed, self.dtype, shape=self.shape)
            return np.asarray(tensor.numpy())
        return self._numbers(0, self.nbytes).reshape(dims_of(self))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self.numpy(), dtype)

    def tobytes(self) -> bytes:
        """The bytes as they are stored."""
        return self.part(0, self.nbytes).tobytes()

    def tofile(self, file: BinaryIO) -> None:
        """Writes the bytes part by part."""
        for start in range(0, self.nbytes, PART_BYTES):
            end = min(start + PART_BYTES, self.nbytes)
            file.write(self.part(start, end).data)
            # Or the pages that were read would stay in memory, up to the whole file.
            self.give_back(start, end)

    def rows(self, first: int, count: int) -> Array:
        """``count`` rows along the first axis, as :meth:`numpy`; of a tensor whose elements take whole bytes."""
        row = self.nbytes // dims_of(self)[0]
        return self._numbers(first * row, (first + count) * row).reshape(count, *dims_of(self)[1:])

    def _numbers(self, start: int, end: int) -> Array:
        # ONNX stores little-endian numbers on every machine.
        kind, offset = self.dtype.numpy().newbyteorder("<"), self.offset or 0
        array: Array = self.part(start, end).view(kind)
        return array if array.flags.aligned else self._file.aligned(offset + start, offset + end).view(kind)

    def part(self, start: int, end: int) -> npt.NDArray[np.uint8]:
        """Some of the bytes."""
        offset = self.offset or 0
        return self._file.bytes[offset + start : offset + end]

    def give_back(self, start: int, end: int) -> None:
        """Tells the system that these bytes, counted from the start of the tensor, are not needed now."""
        offset = self.offset or 0
        self._file.give_back(offset + start, offset + end)


def all_finite(tensor: ir.TensorProtocol) -> bool:
    """Are all its numbers finite? In parts, as a weight may lie in a file and be large."""
    return all(is_finite(array) for _, array in parts(tensor))


def parts(tensor: ir.TensorProtocol) -> Iterator[tuple[int, Array]]:
    """The tensor in parts along its first axis, each of about ``PART_BYTES`` at most, with the number of its first row.

    What is mapped is given back once the next part is asked for.
    """
    if not isinstance(tensor, DiskTensor):
        yield 0, tensor.numpy()
        return
    shape = dims_of(tensor)
    row = prod(shape[1:]) * (tensor.dtype.bitwidth // 8)
    # An empty axis makes rows of no bytes.
    rows = max(1, PART_BYTES // max(1, row))
    if not tensor.whole_bytes or not shape or rows >= shape[0]:
        yield 0, tensor.numpy()
        if tensor.nbytes >= mmap.PAGESIZE:
            tensor.give_back(0, tensor.nbytes)
        return
    for first in range(0, shape[0], rows):
        count = min(rows, shape[0] - first)
        yield first, tensor.rows(first, count)
        # Only when the next part is asked for, which says that this one is done with.
        tensor.give_back(first * row, (first + count) * row)


def same_tensors(one: ir.TensorProtocol, two: ir.TensorProtocol) -> bool:
    """Have two tensors the same type, the same shape and the same bits?"""
    if one.dtype != two.dtype or tuple(one.shape) != tuple(two.shape):
        return False
    return one is two or same_bits(one.numpy(), two.numpy())


def paired_weights(
    before: ir.Graph, after: ir.Graph
) -> Iterator[tuple[ir.Value, ir.TensorProtocol, ir.TensorProtocol]]:
    """The initializers of a graph that one made of it has under the same name: the value before, and both tensors."""
    for name, value in before.initializers.items():
        twin = after.initializers.get(name)
        old, new = value.const_value, None if twin is None else twin.const_value
        if old is not None and new is not None:
            yield value, old, new


@dataclass(frozen=True)
class KeptEntries:
    """What is left of rows of a weight where some of its entries go.

    Attributes:
        kept: axis -> which of its entries stay, bool[entries]; empty where rows differ.
        factors: where rows differ, masks of the weight's rank, of size 1 where nothing varies: an entry stays where all
            of them say so.
    """

    kept: Mapping[int, Mask]
    factors: Sequence[Mask] = ()

    def __call__(self, array: Array, first: int) -> Array:
        """Of ``array``, rows of the weight from number ``first`` on; flat where rows differ."""
        if self.factors:
            return array[np.broadcast_to(row_mask(self.factors, first, len(array)), array.shape)]
        stays = {axis: keep[first : first + len(array)] if axis == 0 else keep for axis, keep in self.kept.items()}
        return taken(array, {axis: np.flatnonzero(keep) for axis, keep in stays.items()})


def row_mask(factors: Sequence[Mask], first: int, count: int) -> Mask:
    """The mask of these rows, multiplied out; it has one row where all are alike."""
    return reduce(np.logical_and, (m[first : first + count] if m.shape[0] > 1 else m for m in factors))


def taken(array: Array, places: Mapping[int, Sequence[int] | npt.NDArray[np.int64]]) -> Array:
    """What stands at these places along each axis, in their order: weights are sliced here and by KeptEntries alone.

    Args:
        array: a weight, or rows of it.
        places: axis -> which positions are taken along it; an axis that is not named stays whole.
    """
    # The last first: what is cut along the later axes is less to copy along the earlier ones.
    for axis in sorted(places, reverse=True):
        array = np.take(array, np.asarray(places[axis], np.int64), axis=axis)
    return array


class DerivedTensor(ir.LazyTensor):
    """What a function leaves of each part of another tensor; nothing is held, and each use makes it anew.

    Args:
        source: the tensor that it is made from.
        part: what is left of rows of it, in row-major order; of any shape.
        shape: of the whole.
    """

    def __init__(self, source: ir.TensorProtocol, part: FromRows, shape: tuple[int, ...]) -> None:
        super().__init__(self._made, source.dtype, ir.Shape(shape), name=source.name)
        self._source, self._part = source, part

    def _made(self) -> ir.TensorProtocol:
        found = list(self.pieces())
        whole = found[0] if len(found) == 1 else np.concatenate([array.ravel() for array in found])
        array = np.ascontiguousarray(whole).reshape(dims_of(self))
        return ir.Tensor(array, dtype=self.dtype, name=self.name)

    def pieces(self) -> Iterator[Array]:
        """The data in row-major order, one part after the other; of any shapes."""
        return (self._part(array, first) for first, array in parts(self._source))

    def tofile(self, file: BinaryIO) -> None:
        """Writes it part by part."""
        # Parts need not end at a whole byte.
        if self.dtype.bitwidth % 8:
            file.write(self.tobytes())
            return
        for piece in self.pieces():
            file.write(np.ascontiguousarray(piece).tobytes())


def with_weights(model: ir.Model, change: Callable[[str, Array, int], Array]) -> ir.Model:
    """A copy of ``model`` with other floating-point initializers, made anew from those of ``model`` at each use.

    Args:
        model: the model; it is left as it is.
        change: from a name, rows of the initializer, and the number of their first, to what stands in their place: of
            the same shape and type.
    """
    copy = model.clone()
    for name, value in copy.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.dtype.is_floating_point():
            value.const_value = DerivedTensor(tensor, partial(change, name), dims_of(tensor))
    return copy


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers of the main graph."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    return sum(int(tensor.nbytes) for tensor in tensors if tensor is not None)


def weight_shapes(model: ir.Model) -> list[tuple[int, ...]]:
    """Shapes of all initializers of the main graph."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    return [dims_of(tensor) for tensor in tensors if tensor is not None]


def is_large(graph: ir.Graph) -> bool:
    """Do the weights of a graph stay on disk? See ``LARGE_MODEL``."""
    tensors = (value.const_value for value in graph.initializers.values())
    return sum(int(t.nbytes) for t in tensors if t is not None) >= LARGE_MODEL


def hold(graph: ir.Graph, own: Path) -> dict[str, str]:
    """Makes the weights of a graph that was just read cheap to hold and to ask, in place.

    Those in files become :class:`DiskTensor`; those in the message become arrays, as a message copies its bytes and
    makes the shape anew whenever it is asked.

    Args:
        graph: the main graph.
        own: the model file, in whose folder external data lies, and which ``OWN`` stands for; an absolute path.

    Returns:
        Name of a weight in external data -> name of its file.
    """
    files: dict[Path, DataFile] = {}
    shards = {}
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            # The end of all links: that is the file that was checked.
            path = own if tensor.location == OWN else (own.parent / tensor.location).resolve()
            if tensor.location != OWN:
                shards[str(value.name)] = str(tensor.location)
            if path not in files:
                files[path] = DataFile(path)
            value.const_value = DiskTensor(tensor, files[path])
        elif tensor is not None and tensor.dtype != ir.DataType.STRING and tensor.dtype.bitwidth % 8 == 0:
            # Strings, which are no array, stay as they are, and so do elements that share bytes.
            held = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)
            held.metadata_props.update(tensor.metadata_props)
            value.const_value = held
    return shards


def seal(graph: ir.Graph) -> None:
    """Makes the arrays of initializers read-only, in place: copies of a graph share them, and an edit reaches all."""
    for value in graph.initializers.values():
        tensor = value.const_value
        raw = tensor.raw if isinstance(tensor, ir.Tensor) else None
        if tensor is not None and isinstance(raw, np.ndarray) and raw.flags.writeable:
            own = raw.view()
            own.flags.writeable = False
            value.const_value = ir.Tensor(own, dtype=tensor.dtype, name=tensor.name)
