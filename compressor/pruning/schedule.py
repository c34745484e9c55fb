"""Pruning in several steps: how much of the original each step leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from compressor.config import AMOUNTS, PruneSettings

Schedule = Callable[[float, float], float]
"""The share kept at time t in 0..1 of a run that keeps the share k in the end: (k, t) -> share."""

SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {
        "linear": lambda kept, t: 1 - (1 - kept) * t,
        "cubic": lambda kept, t: kept + (1 - kept) * (1 - t) ** 3,
        "exponential": lambda kept, t: kept**t,
    }
)
"""Linear; fast at first, when much can go (Zhu and Gupta, arXiv 1710.01878, eq. 1); the same factor in each step."""


def steps_of(settings: PruneSettings, size: int) -> Iterator[PruneSettings]:
    """The settings of each step, ``steps`` being those left with it; amounts are shares of the original.

    Args:
        settings: ``steps`` and ``schedule`` say how many and how fast.
        size: bytes of the original file, for a size given in bytes.
    """
    kept_at = SCHEDULES[settings.schedule]
    # The last step takes the amounts as they were given, so that rounding of a schedule cannot miss them.
    for step in range(1, settings.steps):
        t = step / settings.steps
        changed: dict[str, object] = {"steps": settings.steps - step + 1}
        for name in AMOUNTS:
            amount = getattr(settings, name)
            if amount is None or name == "target_latency":
                continue  # milliseconds are a share of what only a measurement tells; see compressor.latency
            if name == "ratio":
                # Schedules speak of what is kept, a ratio of what goes.
                changed[name] = 1 - kept_at(1 - amount, t)
            else:
                changed[name] = kept_at(float(amount) if amount <= 1 else min(1.0, amount / size), t)
        changed["layer_ratio"] = tuple((glob, 1 - kept_at(1 - ratio, t)) for glob, ratio in settings.layer_ratio)
        yield settings.model_copy(update=changed)
    yield settings.model_copy(update={"steps": 1})
