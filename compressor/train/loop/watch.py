"""The first steps of training, watched: a rate that is too high for a network ruins it there, and what follows is spent
on getting back to where it began.

After some steps the weights are judged as epochs are. Where they are far worse than those from before, or the loss is
no number any more, training begins anew from these at half the rate; where no rate helps, it ends with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.train.loop.history import Judgement

WATCHED = 100
"""Steps after which weights are judged, or half of all where there are fewer than twice as many."""
FEWEST_STEPS = 8
"""Shorter runs are judged at their end alone: the first steps warm up."""
FAR_WORSE = 4.0
"""Times the loss from before that is more than the unrest of a high rate, which settles as the rate falls."""
HALVINGS = 5
"""How often training begins anew, at most."""


class Worse(Exception):  # noqa: N818 -- a signal to the loop, which knows what to begin anew
    """After ``step`` steps (from 1) the weights are far worse than those from before."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


@dataclass(frozen=True)
class Watch:
    """When a run is looked at.

    Attributes:
        step: after which its weights are judged, from 1.
    """

    step: int

    @staticmethod
    def of(steps: int) -> Watch | None:
        """For a run of so many steps; None where it is too short."""
        step = min(WATCHED, steps // 2)
        return Watch(step) if step >= FEWEST_STEPS else None

    def demand_sound(self, before: Judgement, found: Judgement) -> None:
        """Raises Worse where ``found`` is far worse than ``before``."""
        # By the loss, as metrics of few samples do not move at first; not below, so that NaN counts as worse too.
        if not found.loss <= FAR_WORSE * max(before.loss, 1e-12):
            raise Worse(self.step)

    def again(self, step: int, halvings: int) -> bool:
        """May training begin anew, after a failure at ``step`` of a run that did so ``halvings`` times before?"""
        return step <= self.step and halvings < HALVINGS


def rate_notes(asked: float, halvings: int, *, trained: bool) -> list[str]:
    """What the user should know of a run at the rate ``asked``, which was halved so often."""
    if not halvings:
        return []
    if not trained:
        lowest = asked / 2 ** (halvings - 1)
        return [
            f"training made it far worse within its first steps, at a learning rate of {asked:g} and its halves down "
            f"to {lowest:g}, so the weights from before are kept; try a much smaller --learning-rate, or another "
            "--optimiser"
        ]
    return [
        f"a learning rate of {asked:g} made it far worse within its first steps, so training began anew at "
        f"{asked / 2**halvings:g}"
    ]
