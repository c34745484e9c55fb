"""Folders that exporters write: a model among the files that say how it is used, such as those of Hugging Face.

A command that is given a folder with a ``config.json`` as its model works on the one ``.onnx`` file in it, and leaves a
folder of the same files behind, with the new model in place of the old one.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressor.core.atomic import write_text
from compressor.errors import ModelError, UsageError

CONFIG = "config.json"
TOLD_UNDER = "onnx_compressor"
"""The key of ``config.json`` under which stands what it says and the model has otherwise."""
_PLACES = ("*.onnx", "onnx/*.onnx")
"""Where exporters put models."""
_NAMED = 3


@dataclass(frozen=True)
class ExportFolder:
    """A folder with one model, and the folder that a command makes of it.

    Attributes:
        source: is read.
        target: is made; it was not there, or was empty.
        model: path of the model in either of them.
    """

    source: Path
    target: Path
    model: Path

    @staticmethod
    def at(source: Path) -> bool:
        """Is there such a folder? Others are no models, and are not searched for any."""
        # os.path and not pathlib, as a name that no file system takes is no folder either.
        return os.path.isfile(source / CONFIG)

    @staticmethod
    def of(source: Path, output: Path | None, suffix: str) -> ExportFolder:
        """The folder at ``source``; by default ``bert`` and ``.pruned.onnx`` give ``bert.pruned`` beside it.

        Raises:
            ModelError: there is no model in it, or more than one.
            UsageError: the target is in use, or in the source.
        """
        found = sorted(path.relative_to(source) for glob in _PLACES for path in source.glob(glob) if path.is_file())
        if len(found) != 1:
            names = ", ".join(map(str, found[:_NAMED])) + (", ..." if len(found) > _NAMED else "")
            held = f"{len(found)} models ({names})" if found else "no .onnx file"
            raise ModelError(f"folder {source} holds {held}; name the file that is meant")
        target = output or source.resolve().with_name(source.resolve().name + suffix.removesuffix(".onnx"))
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"--output: {target} is there already; name a folder that is new or empty")
        if target.resolve().is_relative_to(source.resolve()):
            raise UsageError(f"--output: {target} lies in {source}, which is never changed; name another folder")
        return ExportFolder(source, target, found[0])

    def prepare(self) -> None:
        """Makes the folder that the model will be written to."""
        try:
            (self.target / self.model).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--output: {self.target} cannot be made: {error.strerror or error}") from None

    def withdraw(self) -> None:
        """Removes the folders that nothing was written to."""
        for folder in ((self.target / self.model).parent, self.target):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def complete(self) -> list[str]:
        """Copies all files but the model beside the new one, and notes in the config what it says otherwise now.

        Returns:
            A sentence for each size that differs.

        Raises:
            UsageError: a file cannot be copied.
        """
        from compressor.graph.disk import files

        old, new = self.source / self.model, self.target / self.model
        if not new.is_file():
            return []
        own = {path.resolve() for path in files.model_files(old)}
        try:
            for path in sorted(self.source.rglob("*")):
                place = self.target / path.relative_to(self.source)
                # What the command wrote itself, such as a card, is newer.
                if path.is_file() and path.resolve() not in own and not place.exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, place)
        except OSError as error:
            raise UsageError(f"{self.target} cannot be filled: {error.strerror or error}; copy the rest") from None
        return self._noted(old, new)

    def _noted(self, old: Path, new: Path) -> list[str]:
        place = self.target / CONFIG
        config = _config(place)
        changed = {} if config is None else _changed(config, old, new)
        if config is None or not changed:
            return []
        write_text(
            place, json.dumps({**config, TOLD_UNDER: {"model": str(self.model), "sizes": changed}}, indent=2) + "\n"
        )
        return [
            f"{CONFIG} says {key} {config[key]}, of which the model has {', '.join(map(str, sizes))} now; runtimes "
            f"read sizes from the graph, and the note is under {TOLD_UNDER!r}"
            for key, sizes in changed.items()
        ]


def _config(place: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    # Files of others: one that cannot be read is copied as it is.
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _changed(config: dict[str, Any], old: Path, new: Path) -> dict[str, list[int]]:
    """What became of the sizes that the config names, by its keys: a weight's axis of that length has another now."""
    from compressor.commands.diff import diff_files

    became: dict[int, set[int]] = {}
    for item in diff_files(old, new).initializers:
        if item.shape_a is not None and item.shape_b is not None and len(item.shape_a) == len(item.shape_b):
            for before, after in zip(item.shape_a, item.shape_b, strict=True):
                if before != after:
                    became.setdefault(before, set()).add(after)
    sizes = {key: value for key, value in config.items() if type(value) is int and value > 1}
    return {key: sorted(became[value]) for key, value in sizes.items() if value in became}
