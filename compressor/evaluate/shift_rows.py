"""From a few numbers for each sample to the rows of a robustness report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase

import numpy as np

from compressor.config.choices import CORRUPTIONS
from compressor.core.arrays import Floats
from compressor.evaluate.excess import (
    DIFFERENCE,
    EXCESS,
    SHARE,
    estimates,
    excess_error,
    extra_errors,
    potential,
)
from compressor.evaluate.resemblance import DISTANCE, RELATIVE
from compressor.evaluate.shifts import Shift
from compressor.metrics.metric import AGREEMENT
from compressor.results.records import ModelStats
from compressor.results.robustness import Estimate, LikenessRow, PotentialRow, RobustModel, ShiftedAccuracy

RowKey = tuple[int, str, str]
"""Number of the model, output, measure."""

RIGHT = "right"
"""The measure that labels give; its output is the empty name."""
ALL_CORRUPTIONS = "corruptions"
"""The mean of all corruptions and severities."""


@dataclass(frozen=True)
class ShiftGroup:
    """Shifts that are reported together: one alone, or the mean of some."""

    shift: str
    level: float | None
    members: tuple[int, ...]


@dataclass
class Tally:
    """One number for each measure, shift and sample; the mean where a shift is drawn several times.

    Attributes:
        plan: the shifts.
        count: samples.
        values: float64[shifts, samples] by key.
    """

    plan: Sequence[Shift]
    count: int
    values: dict[RowKey, Floats] = field(default_factory=dict)

    def add(self, key: RowKey, shift: int, start: int, values: Floats) -> None:
        """Adds one draw of the samples from ``start`` on."""
        # Draws of one shift are averaged as they come; NaN, of samples without a label, stays NaN.
        table = self.values.setdefault(key, np.zeros((len(self.plan), self.count)))
        table[shift, start : start + len(values)] += values / self.plan[shift].draws

    def drop(self, output: str) -> None:
        """Forgets an output that turned out not to be comparable."""
        self.values = {key: table for key, table in self.values.items() if key[1] != output}

    @property
    def outputs(self) -> list[str]:
        """Outputs that are compared."""
        return list(dict.fromkeys(output for _, output, measure in self.values if measure != RIGHT))

    def mean(self, key: RowKey, group: ShiftGroup) -> Floats:
        """Mean over the shifts of a group, by sample."""
        return np.asarray(self.values[key][list(group.members)].mean(axis=0))


def shift_groups(plan: Sequence[Shift]) -> list[ShiftGroup]:
    """Every shift; after the severities of a corruption their mean, and at the end the mean of all corruptions."""
    found: list[ShiftGroup] = []
    corrupted = [number for number, shift in enumerate(plan) if shift.name in CORRUPTIONS]
    for name in dict.fromkeys(shift.name for shift in plan):
        members = tuple(number for number, shift in enumerate(plan) if shift.name == name)
        found += [ShiftGroup(name, plan[number].level, (number,)) for number in members]
        if name in CORRUPTIONS:
            # Means over severities are taken sample by sample, before resampling, so that samples stay paired.
            found.append(ShiftGroup(name, None, members))
    return [*found, ShiftGroup(ALL_CORRUPTIONS, None, tuple(corrupted))] if corrupted else found


def model_rows(stats: Sequence[ModelStats], by: str) -> list[RobustModel]:
    """The models under letters, with the share that each saves ``by`` params, macs or bytes, against the first."""
    rows = []
    whole = getattr(stats[0], by)
    for number, one in enumerate(stats):
        # A to Z, then AA, BB: letters stay short for as many models as anybody compares.
        label = ascii_uppercase[number % 26] * (number // 26 + 1)
        rows.append(RobustModel(label=label, stats=one, saved=1 - getattr(one, by) / whole if whole else 0.0))
    return rows


def likeness_rows(tally: Tally, labels: Sequence[str], level: float, seed: int) -> list[LikenessRow]:
    """Agreement, distance and relative error of each compressed model, output and group of shifts."""
    found = []
    for number, label in list(enumerate(labels))[1:]:
        for output in tally.outputs:
            measures = [m for m in (AGREEMENT, DISTANCE, RELATIVE) if (number, output, m) in tally.values]
            groups = shift_groups(tally.plan)
            known: dict[tuple[ShiftGroup, str], Estimate] = {}
            for measure in measures:
                vectors = [tally.mean((number, output, measure), group) for group in groups]
                rows = estimates(vectors, level, seed, SHARE if measure == AGREEMENT else None)
                known |= {(group, measure): row for group, row in zip(groups, rows, strict=True)}
            found += [
                LikenessRow(
                    model=label,
                    output=output,
                    shift=group.shift,
                    level=group.level,
                    agreement=known.get((group, AGREEMENT)),
                    distance=known.get((group, DISTANCE)),
                    relative_error=known[group, RELATIVE],
                )
                for group in groups
            ]
    return found


def accuracy_rows(tally: Tally, labels: Sequence[str], level: float, seed: int) -> list[ShiftedAccuracy]:
    """Accuracy of each model under each group of shifts; of the compressed also what they lose and excess error.

    Samples without a label that counts are left out.
    """
    rows = shift_groups(tally.plan)
    # Which samples have labels is the same under every shift and for every model.
    counted = ~np.isnan(tally.values[0, "", RIGHT][0])
    right = [[tally.mean((k, "", RIGHT), group)[counted] for group in rows] for k in range(len(labels))]
    found = []
    for label, mine in zip(labels, right, strict=True):
        losses = [extra_errors(original, own) for original, own in zip(right[0], mine, strict=True)]
        excess = [excess_error(loss, losses[0]) for loss in losses]  # the first group is the clean one
        # One seed, so that all rows are resampled alike.
        parts = [
            estimates(vectors, level, seed, bounds)
            for vectors, bounds in ((mine, SHARE), (losses, DIFFERENCE), (excess, EXCESS))
        ]
        # On clean samples it is zero by definition, however few they are.
        parts[-1][0] = Estimate(value=0.0, low=0.0, high=0.0)
        found += [
            ShiftedAccuracy(
                model=label,
                shift=group.shift,
                level=group.level,
                accuracy=accuracy,
                lost=None if mine is right[0] else loss,
                excess_error=None if mine is right[0] else more,
            )
            for group, accuracy, loss, more in zip(rows, *parts, strict=True)
        ]
    return found


def potential_rows(
    accuracy: Sequence[ShiftedAccuracy], saved: Mapping[str, float], margin: float
) -> list[PotentialRow]:
    """The prune potential of each group of shifts among the models in ``saved``."""
    losses: dict[tuple[str, float | None], dict[str, Estimate]] = {}
    for row in accuracy:
        if row.lost is not None:
            losses.setdefault((row.shift, row.level), {})[row.model] = row.lost
    return [potential(shift, level, found, saved, margin) for (shift, level), found in losses.items()]
