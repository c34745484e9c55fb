"""The metric of every model that a recipe comes by, each measured once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from compressor.config import DataSettings
from compressor.config.recipe import DATA_SETTINGS
from compressor.data import Dataset, open_parts
from compressor.errors import UsageError
from compressor.graph.disk import files
from compressor.metrics.evaluator import Evaluator
from compressor.recipe.store import Store, data_identity
from compressor.results.base import Record


class Judged(Record):
    """The metric of one model; ``value`` is None where there is no such thing, for the ``reason`` given."""

    value: float | None
    samples: int | None = None
    reason: str = ""


class Judge:
    """Measures on the samples that are set aside for it, the same for all models.

    Args:
        settings: which samples, with paths as they are opened.
        original: whose inputs the samples must fit.
        store: keeps what was measured.

    Attributes:
        evaluator: the metric.

    Raises:
        UsageError: a function of the user's that is the metric cannot be imported.
    """

    def __init__(self, settings: DataSettings, original: Path, store: Store) -> None:
        self._settings, self._original, self._store = settings, original, store
        self.evaluator = Evaluator.of(settings)

    def missing(self) -> str:
        """Why no metric can be measured; empty where it can.

        Raises:
            UsageError: the data cannot be opened.
        """
        if self.evaluator.own:
            return ""
        if self._settings.data is None:
            return "no data is given"
        return "" if self.evaluator.measures(self._samples) else "no labelled samples are set aside to judge on"

    def judge(self, model: Path, digest: str) -> Judged:
        """The metric of the model in that file, whose bytes ``digest`` stands for.

        Raises:
            UsageError: the data cannot be opened, or a metric that was asked for does not fit it.
            ModelError: the model does not run on it.
        """
        missing = self.missing()
        if missing:
            return Judged(value=None, reason=missing)
        # By the bytes of the model, so that stages which leave it alone are not judged again.
        folder = self._store.folder("accuracy", {"model": digest, **self._identity})
        found = self._store.finished(folder, Judged)
        if found is None:
            found = self._measured(model)
            self._store.open(folder)
            self._store.finish(folder, found)
        return found

    def _measured(self, model: Path) -> Judged:
        try:
            # Loaded only for metrics that compare with it.
            original = files.load_model(self._original) if self.evaluator.against_original else None
            result = self.evaluator.measure(files.load_model(model), self._samples, original)
        except UsageError as error:
            # A metric that was asked for has to fit; the default one may be missing.
            if self._settings.eval is not None:
                raise
            return Judged(value=None, reason=str(error))
        return Judged(value=result.value, samples=result.samples)

    @cached_property
    def _samples(self) -> Dataset | None:
        if self._settings.data is None:
            return None
        # The samples that training sets aside, never those that it learns from.
        _, valid = open_parts(self._settings, files.load_model(self._original))
        return valid if len(valid) else None

    @cached_property
    def _identity(self) -> dict[str, object]:
        given = (self._settings.data, self._settings.val_data)
        fields = set(DataSettings.model_fields) - set(DATA_SETTINGS)
        return {
            "data": [None if text is None else data_identity(text) for text in given],
            "metric": self.evaluator.identity,
            "settings": self._settings.model_dump(mode="json", include=fields),
        }
