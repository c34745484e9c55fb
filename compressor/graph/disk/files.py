"""Reading and writing model files, which are untrusted input and somebody's property.

``load`` refuses what is not a sound model, in one clear sentence; ``save`` writes the whole new file or none.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

from compressor.core.aside import Aside
from compressor.errors import CompressorError, ModelError, UsageError
from compressor.graph.disk.before import DATA_SUFFIX
from compressor.graph.disk.complete import complete, set_maps_aside
from compressor.graph.disk.dense import make_dense
from compressor.graph.disk.slim import without_weights
from compressor.graph.disk.stream import FileLayout, plan_files
from compressor.graph.disk.structure import check_header, check_structure
from compressor.graph.form.normalise import open_negative_sizes
from compressor.graph.ir.meta_keys import MAPS, SOURCE
from compressor.graph.ir.walk import innermost
from compressor.graph.tensors.external import check_tensors, embed_nested
from compressor.graph.tensors.weights import LARGE_MODEL, hold

MAX_INLINE_BYTES: Final = 2**31 - 1
"""The largest message that protobuf reads."""
_MISTAKEN: Final = MappingProxyType(
    {
        b"version https://git-lfs": "a Git LFS pointer, not the model itself; run 'git lfs pull'",
        b"PK\x03\x04": "a zip archive (a torch checkpoint?), not an ONNX model; export it to ONNX",
        b"\x89HDF": "an HDF5 (Keras) file, not an ONNX model; export it to ONNX",
    }
)
_CHUNK: Final = 1 << 24
MAP_FROM: Final = 1 << 24
"""Bytes of the smallest file whose weights are not read when it is opened."""


@dataclass(frozen=True)
class Source:
    """Where a model, or the one that it was made from, was read from.

    Attributes:
        files: the model's own and those of its external data.
        size: bytes of all of them when it was read.
        shards: name of an initializer -> the file of external data that it lay in.
        runs: whether ONNX Runtime may be given the file as it is, see :func:`compressor.graph.disk.complete.complete`.
    """

    files: frozenset[Path]
    size: int
    shards: Mapping[str, str] = field(default_factory=dict)
    runs: bool = True


def load_model(path: str | Path) -> ir.Model:
    """Read a model file after checking that it is sound and safe.

    Large weights in external files are mapped, not read; the others are held once. Tensors of attributes and
    subgraphs are always in memory.

    Args:
        path: the ``.onnx`` file. External data must lie in its folder.

    Raises:
        ModelError: the file is not readable, not a sound ONNX model, or reaches outside its folder.
    """
    path = Path(path)
    try:
        own = path.absolute()
        proto = _parse(path)
        # Every check comes before `from_proto`, which trusts the message, and each relies on those before it.
        sparse = make_dense(proto, own)
        deadly = complete(proto)
        read = {own, *sparse, *check_tensors(proto, own)}
        maps = set_maps_aside(proto)
        check_structure(proto)
        embed_nested(proto, own)
        model = ir.from_proto(proto)
        shards = hold(model.graph, own)
        model.graph.meta[MAPS] = maps
        model.graph.meta[SOURCE] = Source(
            frozenset(read), sum(file.stat().st_size for file in read), shards, not deadly
        )
        open_negative_sizes(model)
        model.graph.sort()
        plan_files(model)  # what could not be written again is refused now, not after the work
    except UnicodeDecodeError:
        # Caught before ValueError, which it is too.
        raise ModelError(f"{path}: a name or text in the model is not UTF-8; the file is damaged") from None
    except CompressorError as error:
        raise ModelError(f"{path}: {error}") from None
    except (ir.serde.SerdeError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise ModelError(f"{path}: the model cannot be represented: {innermost(error)}") from error
    return model


def source_of(model: ir.Model) -> Source | None:
    """The files that ``model``, or the model that it was made from, was read from; None where it was made in memory."""
    found = model.graph.meta.get(SOURCE)
    return found if isinstance(found, Source) else None


def model_files(path: str | Path) -> set[Path]:
    """The files that a model consists of: its own and those of its external data; of one that was loaded, ``source_of``
    knows them.

    Raises:
        ModelError: as for ``load``, as far as reading the file and finding its data go.
    """
    path = Path(path)
    try:
        own, proto = path.absolute(), _parse(path)
        return {own, *make_dense(proto, own), *check_tensors(proto, own)}
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def join_sources(model: ir.Model, parts: Iterable[ir.Model]) -> None:
    """Says of a model that it was made from the files of all ``parts``."""
    found = [source for part in parts if (source := source_of(part)) is not None]
    own = frozenset(file for source in found for file in source.files)
    runs = all(source.runs for source in found)
    model.graph.meta[SOURCE] = Source(own, sum(source.size for source in found), runs=runs)


def size_on_disk(path: str | Path) -> int:
    """Bytes of a model's file and of its external data.

    Raises:
        ModelError: as for ``model_files``.
    """
    return sum(file.stat().st_size for file in model_files(path))


def digest(paths: Iterable[Path]) -> str:
    """Stands for the bytes of these files, in the order of their names: SHA-256."""
    found = hashlib.sha256()
    for path in sorted(paths):
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    return found.hexdigest()


def save_model(
    model: ir.Model,
    path: str | Path,
    *,
    external_data: bool | None = None,
    forbidden: Collection[Path] = (),
    inline_limit: int = MAX_INLINE_BYTES,
    check: Callable[[Path], None] | None = None,
) -> int:
    """Write a model: the whole file under its name, or, on any failure or interruption, no file at all.

    The same model gives the same bytes. Weights are written one after the other, never copied together.

    Args:
        model: the model; unchanged when this returns.
        path: the file to write; replaced if it exists.
        external_data: put weights of 1 KiB and more into ``<name>.data`` beside it, or into as many files as they
            were read from. By default, only in a model that is large.
        forbidden: files that must not be overwritten, besides those that the model was made from.
        inline_limit: bytes of the largest single file; protobuf allows no more than the default.
        check: is given the whole new file, weights beside it, before it is put in place; what it raises leaves
            no file.

    Returns:
        Bytes written, external data included.

    Raises:
        UsageError: the place cannot be written to, is forbidden, or the model is too large for one file.
    """
    asked = None if check is None else lambda found: check(found[0])
    return save_models({Path(path): model}, external_data, forbidden, asked, inline_limit)


def save_models(
    models: Mapping[Path, ir.Model],
    external_data: bool | None = None,
    forbidden: Collection[Path] = (),
    check: Callable[[Sequence[Path]], None] | None = None,
    inline_limit: int = MAX_INLINE_BYTES,
) -> int:
    """Write several models into one folder, all of them or none; arguments, result and errors as of :func:`save_model`.

    ``check`` is given the new files of all models, in their order.
    """
    writers: dict[Path, Callable[[BinaryIO], None]] = {}
    own = set(forbidden)
    for path, model in models.items():
        writers |= _writers(model, path, external_data, inline_limit)
        # Weights may still be mapped from these files, and would change while they are written.
        tensors = (value.const_value for value in model.graph.initializers.values())
        own |= {Path(tensor.path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
        source = source_of(model)
        own |= source.files if source is not None else frozenset()
    try:
        for target in writers:
            _check_target(target, own)
        return _write_together(writers, list(models), check)
    except OSError as error:
        reason = error.strerror or error
        names = " and ".join(map(str, models))
        raise UsageError(f"{names} cannot be written: {reason}; make room or choose another output") from None


def _writers(
    model: ir.Model, path: Path, external_data: bool | None, inline_limit: int
) -> dict[Path, Callable[[BinaryIO], None]]:
    """What writes each file of a model, the model file last."""
    if not path.name or "\0" in path.name:
        raise UsageError(f"{str(path)!r} is not the name of a file; choose another output")
    layout = layout_of(model, path.name, external_data, inline_limit)
    if layout.size > inline_limit:
        remedy = "allow external data" if external_data is False else "split the model, its graph alone is too large"
        raise UsageError(f"{path} would have {layout.size} bytes, too many for one file; {remedy}")
    found: dict[Path, Callable[[BinaryIO], None]] = {
        path.with_name(name): partial(layout.write_data, name) for name in layout.external
    }
    return {**found, path: layout.write}


def layout_of(
    model: ir.Model, name: str, external_data: bool | None, inline_limit: int = MAX_INLINE_BYTES
) -> FileLayout:
    """The bytes of a model that is written under a name; arguments as of :func:`save_model`."""
    # Planned for one file first, because its size decides whether weights move out.
    layout = plan_files(model)
    if external_data or (external_data is None and layout.size > min(LARGE_MODEL, inline_limit)):
        layout = plan_files(model, shards(model, name))
    return layout


def shards(model: ir.Model, name: str) -> Callable[[str], str]:
    """The files that external data goes to: one, or as many as the weights of the model were read from.

    Args:
        model: a model that was read from files, or made from one that was.
        name: of the model file.

    Returns:
        From the name of an initializer to that of its file: ``<name>.data``, or ``<name>-00001-of-00003.data``.
    """
    source = source_of(model)
    given = source.shards if source is not None else {}
    found = sorted({given[weight] for weight in model.graph.initializers if weight in given})
    if len(found) < 2:
        return dict.fromkeys(model.graph.initializers, name + DATA_SUFFIX).__getitem__
    place = {shard: number for number, shard in enumerate(found, 1)}
    # A weight that was made since goes where its neighbour before it went, as graphs are in the order of their layers.
    number, numbers = 1, {}
    for weight in model.graph.initializers:
        number = numbers[weight] = place.get(given.get(weight, ""), number)
    return {weight: f"{name}-{at:05}-of-{len(found):05}{DATA_SUFFIX}" for weight, at in numbers.items()}.__getitem__


def _parse(path: Path) -> onnx.ModelProto:
    try:
        status = path.stat()
        # A pipe or a device might block, or never end.
        if not stat.S_ISREG(status.st_mode):
            raise ModelError("this is not a regular file; give the path of an .onnx file")
        if status.st_size > MAX_INLINE_BYTES:
            raise ModelError("the file is larger than 2 GiB, which protobuf cannot read; use external data")
        content = _content(path, status.st_size)
    except OSError as error:
        raise ModelError(f"the file cannot be read: {error.strerror or error}; check the path") from None
    except ValueError:
        # A name with a zero byte in it.
        raise ModelError("this is not the name of a file; check the path") from None
    if not content:
        raise ModelError("the file is empty; export or copy it again")
    for start, what in _MISTAKEN.items():
        if content.startswith(start):
            raise ModelError(f"this is {what}")
    try:
        proto = onnx.ModelProto()
        proto.ParseFromString(content)
    except DecodeError:
        raise ModelError("this is not an ONNX file, or a damaged one; export or copy it again") from None
    check_header(proto)
    return proto


def _content(path: Path, size: int) -> bytes:
    """The message in a file; of a file that is large for one, without the weights, which stay there."""
    with path.open("rb") as file:
        if size >= MAP_FROM:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                short = without_weights(view)
                if short is not None:
                    return short
        return file.read()


def _check_target(target: Path, forbidden: Collection[Path]) -> None:
    if not target.parent.is_dir():
        raise UsageError(f"folder {target.parent} does not exist; create it or choose another output")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise UsageError(f"folder {target.parent} cannot be written to; choose another output")
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise UsageError(f"{target} exists and is not a regular file; choose another output")
    for file in forbidden:
        # Links and other spellings of a path lead to the same file too.
        same = target.exists() and file.exists() and target.samefile(file)
        if same or target.absolute() == file.absolute():
            raise UsageError(f"{target} belongs to the input, which is never overwritten; choose another output")


def _write_together(
    writers: Mapping[Path, Callable[[BinaryIO], None]],
    models: Sequence[Path],
    check: Callable[[Sequence[Path]], None] | None,
) -> int:
    """Write files into a folder of their own beside the targets, check the models there, and move all into place.

    They have their own names there, so that models find their weights. A model is moved after its weights. Where that
    fails or is interrupted, files from before are put back.
    """
    moved: list[Path] = []
    # Beside the target, because only within one file system a rename takes place at once or not at all.
    with (
        Aside() as aside,
        tempfile.TemporaryDirectory(
            prefix=".onnx-compressor-", dir=models[0].parent, ignore_cleanup_errors=True
        ) as place,
    ):
        folder = Path(place)
        try:
            total = sum(_write(folder / path.name, write) for path, write in writers.items())
            if check is not None:
                check([folder / path.name for path in models])
            # Models first: what is kept last is put back first, and a model comes after its weights.
            for path in dict.fromkeys([*models, *writers]):
                if path.exists():
                    aside.keep(path, os.replace)
            if len(writers) > 1:
                # An old model must never be seen with new data.
                for path in models:
                    path.unlink(missing_ok=True)
            for path in writers:
                # Noted before the move, so that an interruption in between is undone too; below it is asked what was
                # moved.
                moved.append(path)
                (folder / path.name).replace(path)
            _flush_folder(models[0].parent)
        except BaseException:
            # Also on KeyboardInterrupt: a part of the files is worse than none. Models go before their weights.
            for path in reversed(moved):
                if not (folder / path.name).exists():
                    path.unlink(missing_ok=True)
            raise
    return total


def _write(path: Path, write: Callable[[BinaryIO], None]) -> int:
    with path.open("xb") as file:
        write(file)
        file.flush()
        # On disk before the rename, or a power cut could leave the name with nothing behind it.
        os.fsync(file.fileno())
        return file.tell()


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can open folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
