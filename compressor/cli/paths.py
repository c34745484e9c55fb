"""Where a command writes: default names, and no file that is also an input."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from compressor.errors import UsageError


def default_output(source: Path, suffix: str) -> Path:
    """``model.onnx`` and ``.pruned.onnx`` give ``model.pruned.onnx`` in the same folder."""
    stem = source.name.removesuffix(".onnx") if source.suffix == ".onnx" else source.name
    return source.with_name(stem + suffix)


def check_destinations(sources: Iterable[Path | None], written: Mapping[str, str | Path | None]) -> None:
    """Refuses, before any work is done, places that cannot be written or that hold an input.

    Args:
        sources: files that are read.
        written: file to be written by the flag that names it; ``-`` is stdout.

    Raises:
        UsageError: a folder does not exist, or a file would be read and written, or written twice.
    """
    taken = {source: "the input" for source in sources if source is not None}
    for flag, place in written.items():
        if place is None or str(place) == "-":
            continue
        path = Path(place)
        if not path.parent.is_dir():
            raise UsageError(f"{flag}: folder {path.parent} does not exist; create it or choose another place")
        if path.is_dir():
            raise UsageError(f"{flag}: {path} is a folder; name a file in it")
        for other, owner in taken.items():
            if _same(path, other):
                raise UsageError(f"{flag}: {path} is {owner} too, which is never overwritten; name another file")
        taken[path] = f"the file of {flag}"


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)
