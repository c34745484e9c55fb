"""Corrects what was predicted by what is measured, until a run takes as long as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from statistics import NormalDist, median

from compressor.core.notation import read_latency
from compressor.errors import NothingToPrune, TargetOutOfReach
from compressor.pruning.widths import Levels, Widths
from compressor.results.detail import LatencyResult

TOLERANCE = 0.03
"""A latency counts as reached within this share of the target."""
CORRECTIONS = 5
"""How often the prediction is corrected at most."""
DOUBT = 0.05
"""Standard deviation of the logarithm of measured over predicted time, before anything was measured."""
DRIFT = 0.3
"""How much that ratio may change where the predicted time does, both as logarithms."""
SURE = 1e-3
"""The same of a measurement, at least, so that one that saw no noise is not the only one that counts."""


@dataclass(frozen=True)
class Aim:
    """A latency.

    Attributes:
        text: as milliseconds or as a share of the original's.
        exact: whether missing it is an error; otherwise the nearest that was found counts.
    """

    text: str
    exact: bool = True

    def milliseconds(self, found: LatencyResult) -> float:
        """What is aimed at, where the original took what it took in ``found``."""
        amount, unit = read_latency(self.text)
        return amount if unit == "ms" else amount * found.before_ms

    def share(self, found: LatencyResult) -> float:
        """The same as a share of the original's latency."""
        return self.milliseconds(found) / found.before_ms


@dataclass(frozen=True)
class MeasuredWidths:
    """Widths whose model was measured end to end.

    Attributes:
        levels: the widths.
        found: what was measured.
        reached: its latency as a share of the one aimed at.
        predicted: the time that was predicted, as a share of the original's; None before there was a table.
    """

    levels: Levels
    found: LatencyResult
    reached: float
    predicted: float | None = None

    @property
    def hits(self) -> bool:
        """Is the measured time within the tolerance of the target?"""
        # Faster than asked counts as a miss too: it lost more than it had to.
        return abs(self.reached - 1) <= TOLERANCE

    @property
    def vague(self) -> bool:
        """Could it just as well lie beyond the tolerance?"""
        return self.found.high > self.found.low * (1 + TOLERANCE) ** 2

    @property
    def doubt(self) -> float:
        """Standard deviation of the logarithm of the ratio that was measured."""
        quantile = NormalDist().inv_cdf((1 + self.found.level) / 2)
        # The interval is symmetric in the logarithm, and as wide as twice the quantile in standard deviations.
        return max(SURE, log(self.found.high / self.found.low) / (2 * quantile))


class WidthSearch:
    """Looks for widths that reach an aim, measuring as few models as possible.

    Args:
        aim: the latency.
        widths: chooses by predicted times.
        measure: measures the model of these widths, and the original in turns with it.
    """

    def __init__(self, aim: Aim, widths: Widths, measure: Callable[[Levels], LatencyResult]) -> None:
        self._aim, self._widths, self._measure = aim, widths, measure
        self.trials: list[MeasuredWidths] = []

    def demand_reachable(self) -> None:
        """Measures the narrowest model there is.

        Raises:
            TargetOutOfReach: it takes longer than asked, and the aim is exact.
            NothingToPrune: the original does not.
        """
        # The extreme first: it tells what is out of reach before a table is measured, which takes minutes.
        trial = self._try(self._widths.narrowest)
        found, wanted = trial.found, self._aim.milliseconds(trial.found)
        if found.before_ms <= wanted * (1 + TOLERANCE):
            raise NothingToPrune(
                f"the original takes {found.before_ms:.3g} ms already, the target is {wanted:.3g} ms; nothing has to go"
            )
        if trial.reached > 1 + TOLERANCE and self._aim.exact:
            raise TargetOutOfReach(
                f"a run can come down to {found.after_ms:.3g} ms ({found.after_ms / found.before_ms:.1%} of the "
                f"original) at most, the target is {wanted:.3g} ms; raise --max-ratio, lower --round-to, or see "
                "--explain for what is frozen"
            )

    def run(self) -> MeasuredWidths:
        """The widths that lose least among those found that are as near as asked; else, where the next wider ones are
        too slow, those that are just fast enough.

        Raises:
            TargetOutOfReach: no such widths were found, and the aim is exact.
        """
        while not self.trials[-1].hits and len(self.trials) <= 1 + CORRECTIONS:
            levels = self._next()
            # The corrected prediction leads to widths that were measured, so that nothing nearer will be found.
            tried = next((trial for trial in self.trials if trial.levels == levels), None)
            if tried is not None:
                return tried
            self._try(levels, self._widths.total(levels))
        if self.trials[-1].hits:
            return self.trials[-1]
        # Without the first one, the narrowest model, which did not aim at the target.
        near = min(self.trials[1:], key=lambda trial: abs(log(trial.reached)))
        if not self._aim.exact:
            return near
        raise TargetOutOfReach(
            f"the nearest to the target of {self._aim.milliseconds(near.found):.3g} ms that was found takes "
            f"{near.found.after_ms:.3g} ms, where the original takes {near.found.before_ms:.3g} ms; stop what else "
            "runs on this machine, or lower --round-to"
        )

    def _next(self) -> Levels:
        """The widths for the corrected prediction; narrower ones where these were measured and are too slow."""
        # The original is timed again with every model; the median of what it took is less noisy than one.
        budget = median(self._aim.share(trial.found) for trial in self.trials) / self._error()
        while True:
            levels = self._widths.within(budget)
            if levels is None:
                return self._widths.narrowest
            if not any(trial.levels == levels and trial.reached > 1 for trial in self.trials):
                return levels
            # These widths were too slow, and the same budget would choose them again.
            budget = self._widths.total(levels) * (1 - TOLERANCE / 3)

    def _error(self) -> float:
        """Measured over predicted time: 1 at first, then the mean of what was seen, each as far as it is sure.

        A measurement says less of models that are faster or slower; the last one lies nearest to the aim.
        """
        # A prior: predicted times are about right, so that one noisy measurement does not throw the search off.
        weights, logs = [DOUBT**-2], [0.0]
        for predicted, trial in self._predicted:
            # The error of the prediction changes with the width, so that far measurements weigh less.
            away = DRIFT * log(predicted / self._predicted[-1][0])
            weights.append(1 / (trial.doubt**2 + away**2))
            logs.append(log(trial.found.after_ms / trial.found.before_ms / predicted))
        return exp(sum(w * x for w, x in zip(weights, logs, strict=True)) / sum(weights))

    @property
    def _predicted(self) -> list[tuple[float, MeasuredWidths]]:
        return [(trial.predicted, trial) for trial in self.trials if trial.predicted is not None]

    def _try(self, levels: Levels, predicted: float | None = None) -> MeasuredWidths:
        found = self._measure(levels)
        self.trials.append(MeasuredWidths(levels, found, found.after_ms / self._aim.milliseconds(found), predicted))
        return self.trials[-1]
