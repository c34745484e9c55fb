"""Chosen changes of layers are made in a run: with what is said of them, and what is done where samples do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.data import Dataset
from compressor.errors import ModelError
from compressor.pruning.apply import CutModel
from compressor.reconstruct import ReconstructOptions
from compressor.steps.account import left_alone
from compressor.steps.prune.lowering import lowered
from compressor.structures.apply import Calibration, Changed, change_layers
from compressor.structures.layer.change import LayerChange

NOT_FITTED = (
    "layers were changed by their weights alone: {reason}; give --data with samples that the model takes, or say "
    "--recover none"
)


@dataclass
class Making:
    """How changes are made.

    Attributes:
        settings: of the run.
        clock: times what is measured.
        asked: somebody asked for samples to be read; otherwise weights alone do where the model does not run on them.
        notes: what the report has to say.
    """

    settings: PruneSettings
    clock: Clock
    asked: bool
    notes: list[str] = field(default_factory=list)
    _how: Calibration = field(default_factory=lambda: Calibration(None, "lstsq", ReconstructOptions()))

    def fit_on(self, data: Dataset | None, method: str, options: ReconstructOptions) -> None:
        """Fits layers on these samples; None takes weights as they are."""
        # Training that matches values inside the original needs channels where they are there.
        self._how = Calibration(data, method, options, reorder=not self.settings.features)

    def changed(self, cut: CutModel, changes: Mapping[str, LayerChange]) -> Changed:
        """The smaller model with its changes, beside the dense one."""
        # Changing edits the model, and may have done so in part when the error comes.
        spare = cut.small.clone()
        try:
            return change_layers(cut.small, cut.dense, cut.cut, changes, self._how, self.settings)
        except ModelError as error:
            # What somebody asked for must not be replaced in silence by something else.
            if self._how.data is None or self.asked:
                raise
            self.notes.append(NOT_FITTED.format(reason=str(error).partition(";")[0]))
            return change_layers(spare, cut.dense, cut.cut, changes, replace(self._how, data=None), self.settings)


def make_changes(cut: CutModel, changes: Mapping[str, LayerChange], making: Making) -> Changed:
    """Makes changes and decides which of them are written as something else.

    Args:
        cut: the model that channels were removed from; what is left becomes the reference.
        changes: node -> what it becomes.
        making: how; takes up notes.

    Raises:
        ModelError: a net does not run on the samples that were asked for.
    """
    changed, notes = lowered(making.changed(cut, changes), making.settings, making.clock)
    making.notes += [*notes, *left_alone(changed.skipped)]
    return changed
