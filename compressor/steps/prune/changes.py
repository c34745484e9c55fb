"""Chosen changes of layers are made in a run: with what is said of them, and what is done where samples do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.errors import ModelError
from compressor.pruning.cut.apply import CutModel
from compressor.steps.prune.lowering import lowered
from compressor.steps.remarks import left_alone
from compressor.structures.apply import Calibration, Changed, change_layers
from compressor.structures.layer.change import LayerChange

NOT_FITTED = (
    "layers were changed by their weights alone: {reason}; give --data with samples that the model takes, or say "
    "--recover none"
)


@dataclass(frozen=True)
class ChangeOptions:
    """How changes are made.

    Attributes:
        settings: of the run.
        clock: times what is measured.
        asked: somebody asked for samples to be read; otherwise weights alone do where the model does not run on them.
        how: on what layers are fitted.
        timed: settings with the sizes at which layers are timed.
    """

    settings: PruneSettings
    clock: Clock
    asked: bool
    how: Calibration
    timed: PruneSettings

    def changed(self, cut: CutModel, changes: Mapping[str, LayerChange]) -> tuple[Changed, list[str]]:
        """The smaller model with its changes, beside the dense one; and what the report has to say."""
        # Changing edits the model, and may have done so in part when the error comes.
        spare = cut.small.clone()
        try:
            return change_layers(cut.small, cut.dense, cut.cut, changes, self.how, self.settings), []
        except ModelError as error:
            # What somebody asked for must not be replaced in silence by something else.
            if self.how.data is None or self.asked:
                raise
            bare = replace(self.how, data=None)
            note = NOT_FITTED.format(reason=str(error).partition(";")[0])
            return change_layers(spare, cut.dense, cut.cut, changes, bare, self.settings), [note]


def make_changes(cut: CutModel, changes: Mapping[str, LayerChange], making: ChangeOptions) -> tuple[Changed, list[str]]:
    """Makes changes and decides which of them are written as something else; and what the report has to say.

    Args:
        cut: the model that channels were removed from; what is left becomes the reference.
        changes: node -> what it becomes.
        making: how.

    Raises:
        ModelError: a net does not run on the samples that were asked for.
    """
    made, notes = making.changed(cut, changes)
    changed, more = lowered(made, making.timed, making.clock)
    return changed, [*notes, *more, *left_alone(changed.skipped)]
