"""Steers the strength of a regularizer to the share of channels that is asked for (arXiv 2005.02634)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UPDATES = 20
"""Looks at the weights in a run at most; in the paper it is one in each of 160 epochs."""
FEWEST = 20
"""Steps between two looks at least: momentum of 0.9 takes that long to show what a strength does."""
FAR = 0.05
"""Share of the channels by which the ratio may be missed before that is reported."""
GROWTH_POWER = 3
"""Power of the looks with which a share may still grow: twice as far into the run, eight times as many are small."""


class Controller:
    """After each of ``E`` looks at the share ``r`` of channels that are small, of which ``R`` is wanted::

        need = (R - r) / (E - e)                    what is left, evenly over the looks that are left
        r < R and r - r before < need:              strength <- strength * growth + step
        r > R and r > r before and strength > 0:    strength <- (strength - step) / growth, at least 0

    The paper has ``growth = 1`` and starts from nothing; there ``step = 1e-5`` is of the order that moves a scale by
    1/125 in an epoch at learning rate 0.1, which belongs to that rate and to that number of steps.

    Args:
        ratio: R.
        threshold: a channel is small where its score is at most this share of the largest in its group; 0.02 in the
            authors' code.
        start: strength before the first look.
        step: is added where more is needed.
        growth: is multiplied by.
    """

    def __init__(
        self, ratio: float, threshold: float = 0.02, *, start: float = 0.0, step: float = 0.0, growth: float = 1.0
    ) -> None:
        self.ratio, self.threshold = ratio, threshold
        self._first, self._step, self._growth = start, step, growth
        self.strength, self._before, self._looks = start, 0.0, 0
        self._every, self._most = 1, UPDATES

    def start(self, steps: int) -> None:
        """Before the first of so many steps."""
        self._every = max(min(FEWEST, steps), steps // UPDATES)
        self._most = max(1, steps // self._every)
        self.strength, self._before, self._looks = self._first, 0.0, 0

    @property
    def looks(self) -> int:
        """How many there are in the whole run."""
        return self._most

    def due(self, step: int) -> bool:
        """Is a look due after this step, from 1?"""
        return step % self._every == 0

    def update(self, reached: float) -> None:
        """One look: the share of channels that are small now."""
        # A look after the last one would divide by zero.
        needed = (self.ratio - reached) / max(1, self._most - self._looks)
        if reached < self.ratio and reached - self._before < needed:
            self.strength = self.strength * self._growth + self._step
        # Only while the share still rises: one that falls by itself needs no help.
        elif reached > self.ratio and reached > self._before and self.strength > 0:
            self.strength = (self.strength - self._step) / self._growth
        # A negative strength would reward large weights.
        self.strength = max(self.strength, 0.0)
        self._before = reached
        self._looks += 1

    @property
    def reachable(self) -> float:
        """The share that would be small after the last look, by a generous guess; one while it is early to say."""
        if self._looks < self._most / 2:
            return 1.0
        return min(1.0, self._before * (self._most / self._looks) ** GROWTH_POWER)

    @property
    def hopeless(self) -> bool:
        """Would even the generous guess miss the ratio?"""
        return self.reachable < self.ratio - FAR

    def notes(self, reached: float) -> list[str]:
        """What to say at the end, where the ratio was not reached: of the run that ended early, or of the whole one."""
        if reached >= self.ratio - FAR:
            return []
        if self.hopeless and self._looks < self._most:
            return [
                f"the ratio is out of reach: {self._looks / self._most:.0%} into the training towards the cut "
                f"{reached:.0%} of the channels were small, where {self.ratio:.0%} go; it stopped, and the cut takes "
                "others"
            ]
        return [f"training made {reached:.0%} of the channels small, {self.ratio:.0%} go, and the cut takes others"]

    def state_dict(self) -> dict[str, Any]:
        """Strength, the share seen at the last look, and how many looks there were."""
        return {"strength": self.strength, "before": self._before, "looks": self._looks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self.strength, self._before = float(state["strength"]), float(state["before"])
        self._looks = int(state["looks"])
