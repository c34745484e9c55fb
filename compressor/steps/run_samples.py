"""The samples of one run: the user's, or made-up ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

import onnx_ir as ir

from compressor.config import DataSettings, PruneSettings
from compressor.config.data import validation
from compressor.core.extras import TRAINING_PACKAGES, require
from compressor.data import Dataset, open_data, open_parts, subset
from compressor.data.synthetic import Synthetic
from compressor.evaluate.stand_in import stand_in
from compressor.pruning.criteria import criterion
from compressor.results.detail import OutputsRow
from compressor.steps.run_sizes import open_sizes, outputs_against

S = TypeVar("S", bound=DataSettings)
MADE_UP_TO_TRAIN = MappingProxyType({"finetune": 5000, "distill": 2048})
"""Made-up samples that training distils on, where the user has none; fewer are learnt by heart."""
NOT_COMPARED = "how far outputs moved was not measured: {reason}; give --data with samples that the model takes"


def reads_samples(settings: PruneSettings) -> bool:
    """Are samples read to choose or to recover, or to measure what came of it?"""
    measured = settings.trainability or settings.max_distance is not None
    idle = settings.recover == "none" and not measured and settings.scope != "loss"
    return not idle or settings.changes_layers or criterion(settings.criterion).needs is not None


@dataclass(frozen=True)
class RunSamples:
    """What a run reads.

    Attributes:
        train: to calibrate and train on; made up where the user has nothing.
        valid: set aside to judge on, labels or not; None where there are none.
        real: they are the user's.
        asked: somebody asked for what is done with them; otherwise it is left out where it cannot be done.
    """

    train: Dataset
    valid: Dataset | None
    real: bool
    asked: bool = True

    @property
    def telling(self) -> bool:
        """Do they excite what layers can do: the user's, or made-up ones of whose class the model is sure?"""
        return self.real or (isinstance(self.train, Synthetic) and bool(self.train.sharpened))

    def outputs_row(self, source: ir.Model, models: Sequence[ir.Model], settings: DataSettings) -> OutputsRow | None:
        """As :func:`compressor.steps.run_sizes.outputs_against`, on samples that recovery did not see if there are any.

        Raises:
            ModelError: a model does not run on them.
        """
        data, seen = self._to_compare()
        row = outputs_against(source, models, data, settings)
        real = self.real or self.valid is not None
        return None if row is None else row.model_copy(update={"real": real, "seen": seen and self.real})

    def held_out(self, most: int, seed: int) -> RunSamples:
        """The same, with at most ``most`` of the samples that outputs are compared on."""
        data, _ = self._to_compare()
        return replace(self, valid=subset(data, most, seed))

    def _to_compare(self) -> tuple[Dataset, bool]:
        """What outputs are compared on, and whether recovery saw it too."""
        if self.valid is not None:
            return self.valid, False
        if isinstance(self.train, Synthetic):
            return self.train.renewed(), False
        return self.train, True

    @staticmethod
    def of(settings: PruneSettings, model: ir.Model) -> RunSamples | None:
        """Opens the user's data, or makes samples up; None where nothing is read.

        Raises:
            UsageError: the data is unreadable or does not fit the model; or training needs what is not given, or not
                installed.
        """
        if settings.uses_gradients:
            require(f"--recover {settings.recover}", *TRAINING_PACKAGES)
        if settings.trainability:
            require("--trainability", *TRAINING_PACKAGES)
        if settings.data is not None:
            train, valid = open_parts(settings, model)
            return RunSamples(train, valid if len(valid) else None, real=True)
        told = validation(settings)
        judged = open_data(told, model) if told is not None else None
        if judged is None and not reads_samples(settings):
            return None
        # Least squares needs hundreds; training learns a few hundred by heart.
        count = max(settings.samples, MADE_UP_TO_TRAIN.get(settings.recover, 0))
        return RunSamples(stand_in(model, settings, count), judged, real=False)


def sized(source: ir.Model, settings: S, samples: RunSamples | None) -> S:
    """The settings with the sizes of the user's samples for dimensions that are left open, as costs are counted."""
    if samples is None or not samples.real:
        return settings
    return settings.resolved(dims={**open_sizes(source, samples.train, settings), **settings.dims})
