"""The folder of a run's checkpoints: asked for before any work, and not left behind empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.errors import UsageError

SUFFIX = ".checkpoint"


def folder_beside(asked: Path | None, output: Path | None) -> Path | None:
    """The folder that was asked for, else one beside the output; None where nothing is written."""
    return output.with_name(output.name + SUFFIX) if asked is None and output is not None else asked


def has_checkpoint(folder: Path | None) -> bool:
    """Is there something in the folder, or in one inside it, that training can go on from?"""
    return folder is not None and any(folder.rglob("*.safetensors"))


@contextmanager
def checkpoint_folder(folder: Path | None, *, resume: bool) -> Iterator[None]:
    """Where a run that fails has written nothing, the folders that it made for checkpoints go again.

    Raises:
        UsageError: the run is to resume, and there is no checkpoint.
    """
    if resume and folder is not None and not has_checkpoint(folder):
        raise UsageError(f"there is no checkpoint in {folder} to resume from; leave out --resume")
    there = folder is None or folder.exists()
    try:
        yield
    except BaseException:
        if folder is not None and not there and folder.is_dir() and not any(p.is_file() for p in folder.rglob("*")):
            # Inner ones first.
            for empty in sorted([folder, *folder.rglob("*")], reverse=True):
                empty.rmdir()
        raise
