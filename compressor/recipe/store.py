"""The work folder: results by the content that they follow from, so that what is finished is not done again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from compressor.core.atomic import write_text
from compressor.graph.disk import files
from compressor.recipe.lock import not_made
from compressor.results.base import Record
from compressor.version import VERSION

MODEL = "model.onnx"
_RECORD = "finished.json"
R = TypeVar("R", bound=Record)


class Store:
    """A folder with one folder for every result, which counts as finished once its record is there.

    Args:
        root: the work folder; made when something is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str, content: Mapping[str, Any]) -> Path:
        """Where the result of that name belongs, which follows from ``content`` and the version of this tool alone."""
        # Another version may give another result from the same content.
        text = json.dumps({**content, "version": VERSION}, sort_keys=True)
        return self.root / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def finished(self, folder: Path, kind: type[R]) -> R | None:
        """The record of a result, or None where it is not finished or not readable."""
        try:
            return kind.model_validate_json((folder / _RECORD).read_bytes())
        except (OSError, ValidationError):
            return None

    def open(self, folder: Path) -> None:
        """Makes a place for a result; the work folder tells git to leave it alone.

        Raises:
            UsageError: it cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_made(self.root, error) from None
        # The folder lies beside the output, often inside a repository, and holds models.
        write_text(self.root / ".gitignore", "*\n")

    def finish(self, folder: Path, record: Record) -> None:
        """Writes the record, last of all."""
        # Written whole or not at all, so that a result is finished or it is not.
        write_text(folder / _RECORD, record.model_dump_json())

    def forget(self, folder: Path) -> None:
        """Removes a result, whole or begun."""
        shutil.rmtree(folder, ignore_errors=True)


def model_digest(path: Path) -> str:
    """A number that stands for the bytes of a model and its external data.

    Raises:
        ModelError: as for ``model_files``.
    """
    return files.digest(files.model_files(path))


def data_identity(text: str) -> object:
    """What stands for data: the bytes of a file; name, size and time of change of every file in a folder; or the name
    of a function, which may give something else tomorrow.
    """
    path = Path(text)
    if path.is_dir():
        found = ((file, file.stat()) for file in sorted(path.rglob("*")) if file.is_file())
        # Hashing a folder of images would take longer than many a stage.
        return [[str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns] for file, stat in found]
    return files.digest([path]) if path.is_file() else text
