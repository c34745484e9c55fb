"""The accuracy of every model that a recipe comes by, each measured once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from compressor.config import DataSettings
from compressor.config.recipe import DATA
from compressor.data import Dataset, open_parts
from compressor.errors import UsageError
from compressor.evaluate.accuracy import accuracy
from compressor.graph import files
from compressor.recipe.store import Store, data_identity
from compressor.results.base import Record


class Judged(Record):
    """Top-1 accuracy of one model; ``share`` is None where there is no such thing, for the ``reason`` given."""

    share: float | None
    samples: int = 0
    reason: str = ""


class Judge:
    """Measures on the samples that are set aside for it, the same for all models.

    Args:
        settings: which samples, with paths as they are opened.
        original: whose inputs the samples must fit.
        store: keeps what was measured.
    """

    def __init__(self, settings: DataSettings, original: Path, store: Store) -> None:
        self._settings, self._original, self._store = settings, original, store

    def missing(self) -> str:
        """Why no accuracy can be measured; empty where it can.

        Raises:
            UsageError: the data cannot be opened.
        """
        if self._settings.data is None:
            return "no data is given"
        return "" if self._samples is not None else "no labelled samples are set aside to judge on"

    def judge(self, model: Path, digest: str) -> Judged:
        """The accuracy of the model in that file, whose bytes ``digest`` stands for.

        Raises:
            UsageError: the data cannot be opened.
            ModelError: the model does not run on it.
        """
        if self._settings.data is None:
            return Judged(share=None, reason=self.missing())
        folder = self._store.folder("accuracy", {"model": digest, **self._identity})
        found = self._store.finished(folder, Judged)
        if found is None:
            found = self._measured(model)
            self._store.open(folder)
            self._store.finish(folder, found)
        return found

    def _measured(self, model: Path) -> Judged:
        if self._samples is None:
            return Judged(share=None, reason=self.missing())
        try:
            result = accuracy(files.load_model(model), self._samples, self._settings)
        except UsageError as error:
            return Judged(share=None, reason=str(error))
        return Judged(share=result.share, samples=len(self._samples))

    @cached_property
    def _samples(self) -> Dataset | None:
        _, valid = open_parts(self._settings, files.load_model(self._original))
        return valid if len(valid) and valid.labelled else None

    @cached_property
    def _identity(self) -> dict[str, object]:
        given = (self._settings.data, self._settings.val_data)
        fields = set(DataSettings.model_fields) - set(DATA)
        return {
            "data": [None if text is None else data_identity(text) for text in given],
            "settings": self._settings.model_dump(mode="json", include=fields),
        }
