"""How fast a run goes, how long it will take, and when to say so."""

from __future__ import annotations

import time

INTERVAL = 0.2
"""Seconds between two reports of progress."""


class Throughput:
    """Counts samples over time, without the time that is spent outside of training steps."""

    def __init__(self) -> None:
        self._samples = self._steps = 0
        self.busy = 0.0
        self._since = time.perf_counter()
        # So that the first step is reported at once.
        self._told = float("-inf")

    def go(self) -> None:
        """Starts the clock again, after validation or a checkpoint."""
        self._since = time.perf_counter()

    def step(self, samples: int) -> None:
        """Counts a step of so many samples."""
        now = time.perf_counter()
        self.busy += now - self._since
        self._since = now
        self._samples += samples
        self._steps += 1

    def due(self) -> bool:
        """Is it time for a report? Answering yes counts as one."""
        # The time of the last step is near enough, and costs no further call of the clock.
        if self._since - self._told < INTERVAL:
            return False
        self._told = self._since
        return True

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self._samples / self.busy if self.busy else 0.0

    def left(self, steps: int) -> float:
        """Seconds for so many steps more."""
        return self.busy / self._steps * steps if self._steps else 0.0
