"""What is done to a user's samples before a model sees them, in words: layout, scale, mean and deviation."""

from __future__ import annotations

from compressor.core.formatting import printable
from compressor.data.arrays import ArrayDataset
from compressor.data.batch import Dataset
from compressor.data.folder import FolderDataset
from compressor.data.prepare import Preparation


def preparation_told(data: Dataset) -> str:
    """One line on what samples go through; empty where they reach the model as they are stored."""
    # Parts of a dataset have it inside.
    inner: object = data
    while not isinstance(inner, (ArrayDataset, FolderDataset)):
        inner = getattr(inner, "dataset", None)
        if inner is None:
            return ""
    if isinstance(inner, FolderDataset):
        height, width = inner.size
        return _told(inner.preparation, f"images read as {inner.mode}, scaled and cut to {height}x{width}")
    return "; ".join(filter(None, (_told(preparation) for preparation in inner.preparations.values())))


def _told(preparation: Preparation, *before: str) -> str:
    done = [*before, *preparation.done]
    return f"{printable(preparation.spec.name)}: {', '.join(done)}" if done else ""
