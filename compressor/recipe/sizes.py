"""Models of one recipe, counted at the same sizes of their inputs, so that the rows of its table can be compared."""

from __future__ import annotations

from pathlib import Path

from compressor.config import DataSettings
from compressor.data import note_sizes, open_data
from compressor.graph.sizes.binding import Bound
from compressor.results import ModelStats
from compressor.steps import counts, run_files


class SizedCounts:
    """Counts at the sizes of the samples, or where there are none at those that are chosen for the original.

    Args:
        original: whose inputs say which sizes are open.
        settings: of the data, with its path as it is opened.

    Attributes:
        original: counted.

    Raises:
        UsageError: the data cannot be opened, or does not fit.
        ModelError: the file is not sound.
    """

    def __init__(self, original: Path, settings: DataSettings) -> None:
        self._settings = settings
        model, size = run_files.open_source(original, settings)
        if settings.data is not None:
            note_sizes(model, open_data(settings, model))
        self.original = counts.stats_in_memory(model, settings, size, original)
        self._inputs: Bound = counts.counted_inputs(model, settings)

    def of(self, path: Path, told: ModelStats) -> ModelStats:
        """What a stage ``told`` of the model in that file, with the costs at these sizes; of several files as told."""
        if told.also:
            return told
        model, size = run_files.open_source(path, self._settings)
        found = counts.stats_in_memory(model, self._settings, size, path, inputs=self._inputs)
        return told.model_copy(update={"macs": found.macs, "macs_at": found.macs_at, "uncounted": found.uncounted})
