"""Made-up samples beside few given ones: a handful of samples leaves least squares underdetermined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.formatting import there_are
from compressor.data import Batch, Dataset
from compressor.data.batch import Indices
from compressor.errors import ModelError, UsageError
from compressor.pruning.cut.analysis import Analysis
from compressor.steps.prune.defaults import made_up, resolve_defaults
from compressor.steps.run_samples import RunSamples

AMPLE = 64
"""Given samples from which on they recover as much as made-up ones do, or more (docs/recovery.md has the numbers)."""
FILLED_UP = (
    "there {given} to learn from, and least squares needs {few}, so made-up ones were added; more of "
    "yours, with --data, recover more"
)


@dataclass(frozen=True)
class JoinedSamples:
    """Samples of one dataset, each ``times`` times, and then those of another; labels of neither.

    Attributes:
        given: comes first.
        more: samples of the same shapes.
        times: how often each of the first counts.
    """

    given: Dataset
    more: Dataset
    times: int = 1

    @property
    def labelled(self) -> bool:
        """No: the second ones have none."""
        return False

    def __len__(self) -> int:
        return self.times * len(self.given) + len(self.more)

    def take(self, indices: Indices) -> Batch:
        """The samples at ``indices``."""
        first = indices < self.times * len(self.given)
        # Nobody is asked for no samples, which a data set of the user's need not know how to give.
        if first.all() or not first.any():
            own = indices % len(self.given) if first.all() else indices - self.times * len(self.given)
            return Batch((self.given if first.all() else self.more).take(own).inputs)
        one = self.given.take(indices[first] % len(self.given)).inputs
        two = self.more.take(indices[~first] - self.times * len(self.given)).inputs
        # Back from the order of the parts to that which was asked for.
        order = np.argsort(np.concatenate([np.flatnonzero(first), np.flatnonzero(~first)]))
        return Batch({n: np.concatenate([a, two[n]])[order] if a.ndim else a for n, a in one.items()})


def with_samples(
    settings: PruneSettings, source: ir.Model, analysis: Analysis, samples: RunSamples | None
) -> tuple[PruneSettings, RunSamples | None, Sequence[str]]:
    """The settings resolved, the user's samples with made-up ones where they are few, and what the report has to say.

    Args:
        settings: as they were given.
        source: the model.
        analysis: the same, analysed.
        samples: the user's; None without any.
    """
    available = None if samples is None else len(samples.train)
    if samples is not None and len(samples.train) < AMPLE and settings.recover == "auto" and not settings.refit_last:
        chosen, notes = resolve_defaults(settings, analysis, available=None)
        filled = None if chosen.recover == "none" else _filled(chosen, source, analysis, samples)
        if filled is not None:
            return chosen, filled, [*notes, FILLED_UP.format(given=there_are(len(samples.train), "sample"), few=AMPLE)]
    chosen, notes = resolve_defaults(settings, analysis, available=available)
    return chosen, samples, notes


def _filled(settings: PruneSettings, source: ir.Model, analysis: Analysis, samples: RunSamples) -> RunSamples | None:
    """The samples with made-up ones of the same sizes; None where none can be made."""
    one = samples.train.take(np.zeros(1, np.int64)).inputs
    sizes = {name: tuple(array.shape) for name, array in one.items() if array.ndim}
    plain = {"data": None, "val_data": None, "eval": None, "max_drop": None, "input_shapes": sizes}
    try:
        made, _ = made_up(settings.model_copy(update=plain), source, analysis, asked=True)
    except (ModelError, UsageError):
        return None
    if made is None:
        return None
    # As much weight for the user's, which are what the model will see.
    times = max(1, len(made.train) // len(samples.train))
    return replace(samples, train=JoinedSamples(samples.train, made.train, times), asked=False)
