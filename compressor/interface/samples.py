"""Samples as callers of Python hold them: arrays, mappings, loaders and functions become an ``.npz`` file.

A file, so that processes that measure side by side read the same samples, what was measured is remembered by what is in
them, and nothing but ``data`` has to know of it.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from compressor.config import DataSettings
from compressor.core.arrays import Array
from compressor.core.formatting import printable
from compressor.data.named import collected
from compressor.data.spec import specs
from compressor.errors import CompressorError, UsageError

DataLike: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Iterable[Any] | Callable[[], Any]
"""A path or ``package.module:callable``, as on the command line; an array [n, ...]; a pair (x, y) of arrays; a mapping
of arrays by input; an iterable of samples or batches of these, such as a torch DataLoader or Dataset; or a function
without arguments that gives one of them."""


def is_held(data: object) -> bool:
    """Whether these are samples themselves, not the name of a place."""
    return data is not None and not isinstance(data, (str, os.PathLike))


def store(data: object, model: ir.Model, labels: str | None, name: str, place: Path) -> Path:
    """Writes samples to ``place`` as an uncompressed ``.npz`` file, which is mapped when it is read.

    Args:
        data: any of :data:`DataLike` but a path; an iterable is read once, up to 65,536 samples or 4 GiB.
        model: whose inputs they fill.
        labels: what the second of a pair is called; ``y`` by default.
        name: of the keyword, for messages.
        place: the file.

    Raises:
        UsageError: they are none of that, do not go together, or the caller's code fails.
    """
    settings = DataSettings(labels=labels)
    try:
        # A torch DataLoader may be callable and iterable; iterating is what is meant.
        given = data() if callable(data) and not isinstance(data, Iterable) else data
        if all(hasattr(given, method) for method in ("take", "labelled")):
            raise UsageError(
                f"{name}: an object with take reads samples when they are needed; name what makes it, as "
                f"{name}='package.module:callable'"
            )
        arrays = collected(given, specs(model), settings, name)
    except CompressorError:
        raise
    except Exception as error:
        words = printable(" ".join(str(error).split())[:300])
        raise UsageError(f"{name} raised {type(error).__name__}{': ' if words else ''}{words}") from error
    # Uncompressed, so that reading it maps the file instead of unpacking it.
    with zipfile.ZipFile(place, "w") as archive:
        for key, array in arrays.items():
            _add(archive, key, array, name)
    return place


def _add(archive: zipfile.ZipFile, key: str, array: Array, name: str) -> None:
    # Objects could only be pickled, which the reader refuses.
    if array.dtype.kind == "O":
        raise UsageError(f"{name}: '{printable(key)}' holds objects, not numbers; give an array of numbers")
    # The length is not known in advance, and may pass 4 GiB.
    with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)
