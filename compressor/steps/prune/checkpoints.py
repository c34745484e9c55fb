"""Where training leaves checkpoints during a run, and when they go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compressor.config import PruneSettings
from compressor.core.checkpoint_folder import checkpoint_folder, folder_beside


@contextmanager
def checkpoint_beside(output: Path | None, settings: PruneSettings) -> Iterator[PruneSettings]:
    """The settings with a place for checkpoints, which is removed if all goes well and they need not be kept."""
    if not settings.trains:
        yield settings
        return
    folder = folder_beside(settings.checkpoint, output)
    # After an error or an interruption the checkpoint has to stay, as it is what the run goes on from.
    with checkpoint_folder(folder, resume=settings.resume):
        yield settings.model_copy(update={"checkpoint": folder})
    if folder is not None and not settings.keep_checkpoint:
        from compressor.train.loop import checkpoint

        # By their names and not the folder as a whole, which may be the user's and hold other files.
        for step in range(1, settings.steps + 1):
            checkpoint.remove_checkpoint(folder / f"sparsify-{step}")
            checkpoint.remove_checkpoint(folder / f"step-{step}")
        checkpoint.remove_checkpoint(folder)
