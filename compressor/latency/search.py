"""Corrects what was predicted by what is measured, until a run takes as long as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from statistics import median

from compressor.config.target import LATENCY_SLACK
from compressor.core.notation import read_latency
from compressor.errors import NothingToPrune, TargetOutOfReach
from compressor.pruning.budgets.widths import Levels, Widths
from compressor.results.detail import LatencyResult

CORRECTIONS = 5
"""How often the prediction is corrected at most."""
KEPT_APART = 0.05
"""Share of the way between two that were measured which the next one keeps from both."""


@dataclass(frozen=True)
class Aim:
    """A latency.

    Attributes:
        text: as milliseconds or as a share of the original's.
        exact: whether missing it is an error; otherwise the nearest that was found counts.
        bounds: what to change where it is out of reach; empty where nothing is known.
    """

    text: str
    exact: bool = True
    bounds: str = "raise --max-ratio"

    def milliseconds(self, latency: LatencyResult) -> float:
        """What is aimed at, where the original took what it took in ``latency``."""
        amount, unit = read_latency(self.text)
        return amount if unit == "ms" else amount * latency.before_ms

    def told(self, latency: LatencyResult) -> str:
        """What is aimed at in words: milliseconds, and the share where one was given."""
        wanted = f"{self.milliseconds(latency):.3g} ms"
        return wanted if read_latency(self.text)[1] == "ms" else f"{self.text}, {wanted}"

    def share(self, latency: LatencyResult) -> float:
        """The same as a share of the original's latency."""
        return self.milliseconds(latency) / latency.before_ms


@dataclass(frozen=True)
class MeasuredWidths:
    """Widths whose model was measured end to end.

    Attributes:
        levels: the widths.
        latency: what was measured.
        reached: its latency as a share of the one aimed at.
        predicted: the time that was predicted, as a share of the original's; None before there was a table.
    """

    levels: Levels
    latency: LatencyResult
    reached: float
    predicted: float | None = None

    @property
    def hits(self) -> bool:
        """Is the measured time within the tolerance of the target?"""
        # Faster than asked counts as a miss too: it lost more than it had to.
        return abs(self.reached - 1) <= LATENCY_SLACK

    @property
    def vague(self) -> bool:
        """Could it just as well lie beyond the tolerance?"""
        return self.latency.high > self.latency.low * (1 + LATENCY_SLACK) ** 2


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
        trial = self._try(self._widths.narrowest, predict=False)
        latency, wanted = trial.latency, self._aim.milliseconds(trial.latency)
        if latency.before_ms <= wanted * (1 + LATENCY_SLACK):
            raise NothingToPrune(
                f"the original takes {latency.before_ms:.3g} ms already, the target is {wanted:.3g} ms; nothing has to "
                "go"
            )
        if trial.reached > 1 + LATENCY_SLACK and self._aim.exact:
            share = latency.after_ms / latency.before_ms
            raise TargetOutOfReach(
                f"a run can come down to no less than {latency.after_ms:.3g} ms ({share:.3g}x), the target is "
                f"{self._aim.told(latency)}; ask for more time{self._aim.bounds and f', or {self._aim.bounds}'}"
            )

    def run(self) -> MeasuredWidths:
        """The widths that lose least among those found that are as near as asked; else, where the next wider ones are
        too slow, those that are just fast enough.

        Raises:
            TargetOutOfReach: no such widths were found, and the aim is exact.
        """
        while not self.trials[-1].hits and len(self.trials) <= 1 + CORRECTIONS:
            levels = self._next()
            # Nothing lies between what was measured, so that nothing nearer will be found.
            tried = self._tried(levels)
            if tried is None:
                self._try(levels)
            elif self._told:
                return tried
            else:
                break
        if self.trials[-1].hits:
            return self.trials[-1]
        # Without the first one, the narrowest model, which did not aim at the target.
        near = min(self.trials[1:], key=lambda trial: abs(log(trial.reached)))
        fast = [trial for trial in self.trials[1:] if trial.reached <= 1 + LATENCY_SLACK]
        if not self._aim.exact or (fast and self._told):
            return max(fast, key=lambda trial: trial.reached, default=near)
        raise TargetOutOfReach(
            f"the nearest to the target of {self._aim.milliseconds(near.latency):.3g} ms that was found takes "
            f"{near.latency.after_ms:.3g} ms, where the original takes {near.latency.before_ms:.3g} ms; stop what else "
            "runs on this machine, or lower --round-to"
        )

    @property
    def _told(self) -> bool:
        """Do times tell anything? Not where narrower models take longer than the original."""
        return all(trial.latency.after_ms <= trial.latency.before_ms * (1 + LATENCY_SLACK) for trial in self.trials)

    def _next(self) -> Levels:
        """The widths at the predicted time that should take as long as asked, by what was measured around it.

        Between two models that were measured, the original being one, the logarithms of both times are taken to follow
        a line (regula falsi). Predictions are of single operators, and what a run takes besides is in none of them.
        """
        below, above = self._bracket()
        # The original is timed again with every model; the median of what it took is less noisy than one.
        wanted = median(self._aim.share(trial.latency) for trial in self.trials)
        levels = self._widths.within(_on_line(below.point, above.point, wanted)) or below.levels
        # The table leads to what is measured already, as where it is in error; then halfway between the two.
        return levels if self._tried(levels) is None else _halfway(below.levels, above.levels)

    def _bracket(self) -> tuple[_End, _End]:
        """The widest model that was fast enough, and the narrowest that was not, at first the original.

        Of trials that contradict each other, as noise makes them, the slow ones count.
        """
        ends = [
            _End(
                trial.levels,
                self._total(trial),
                trial.latency.after_ms / trial.latency.before_ms,
                fast=trial.reached <= 1,
            )
            for trial in self.trials
        ]
        whole = _End(self._widths.widest, 1.0, 1.0, fast=False)
        above = min([whole, *(end for end in ends[1:] if not end.fast)], key=lambda end: end.measured)
        # The narrowest is taken for fast enough, whatever it is.
        below = max([ends[0], *(e for e in ends if e.fast and e.measured < above.measured)], key=lambda e: e.measured)
        return below, above

    def _tried(self, levels: Levels) -> MeasuredWidths | None:
        return next((trial for trial in self.trials if trial.levels == levels), None)

    def _total(self, trial: MeasuredWidths) -> float:
        # The narrowest is measured before there is a table to predict by.
        return self._widths.total(trial.levels) if trial.predicted is None else trial.predicted

    def _try(self, levels: Levels, *, predict: bool = True) -> MeasuredWidths:
        predicted = self._widths.total(levels) if predict else None
        latency = self._measure(levels)
        self.trials.append(
            MeasuredWidths(levels, latency, latency.after_ms / self._aim.milliseconds(latency), predicted)
        )
        return self.trials[-1]


@dataclass(frozen=True)
class _End:
    """An end of what is searched: widths, and their predicted and measured times as shares of the original's."""

    levels: Levels
    predicted: float
    measured: float
    fast: bool

    @property
    def point(self) -> _Point:
        return _Point(log(self.predicted), log(self.measured))


@dataclass(frozen=True)
class _Point:
    """Logarithms of a predicted time and of the one that was measured."""

    predicted: float
    measured: float


def _on_line(below: _Point, above: _Point, wanted: float) -> float:
    """The predicted time where the line through two points comes to ``wanted``; never near an end, to move on."""
    rise = above.measured - below.measured
    place = (log(wanted) - below.measured) / rise if rise > 0 else 0.5
    return exp(below.predicted + min(max(place, KEPT_APART), 1 - KEPT_APART) * (above.predicted - below.predicted))


def _halfway(below: Levels, above: Levels) -> Levels:
    """Halfway between two widths, rounded to the narrower."""
    return [-(-(low + high) // 2) for low, high in zip(below, above, strict=True)]
