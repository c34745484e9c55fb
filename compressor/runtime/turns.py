"""Time of every operator of a model, as a share of a run of another one that was made in turns with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from compressor.core.arrays import Array
from compressor.core.scratch import scratch
from compressor.runtime.profile import ended, read_profile
from compressor.runtime.sessions import CPU, Session, Setup, demand_active, full_name, run_session, start_session

WARMUP = 2
"""Runs at the start that do not count."""
FEWEST_RUNS, MOST_RUNS = 8, 40
"""Runs that are timed."""
TURN_SECONDS = 1.5
"""Time after which no further run is started."""


def operator_shares(
    original: Path, candidate: Path, provider: str, feeds: Mapping[str, Array], setup: Setup
) -> dict[str, float]:
    """Times of the operators of ``candidate`` as shares of a run of ``original``.

    Both are profiled, and run in turns, so that clock speed and load of the machine meet both. The least time of an
    operator counts: the rest of the machine can only add to it, and an operator is short enough to be left alone now
    and then. Where the profile of an accelerator holds launches instead of kernels, they are scaled to add up to the
    ratio of the shortest runs.

    Returns:
        Share by the name of what ran, which is the runtime's, in the order in which it ran.

    Raises:
        ModelError: a model does not run, or the runtime wrote no profile.
        ProviderUnavailable: the provider is missing, did not start, or took no node.
    """
    with scratch() as folder:
        sessions = [
            start_session(path, provider, replace(setup, placement=True, profile=Path(folder) / str(number)))
            for number, path in enumerate((original, candidate))
        ]
        for session in sessions:
            demand_active(session, provider)
        whole, part = _in_turns(sessions, feeds)
        # Profiles are closed when all runs are over.
        before, after = (read_profile(ended(session, "use --target-macs instead"), WARMUP, min) for session in sessions)
    times = after.by_name()
    scale = 1 / sum(node.milliseconds for node in before.nodes)
    # An accelerator's profile without kernels holds the times of launches, which say how they compare and not how long.
    if full_name(provider) != CPU and not after.kernels:
        scale = part / whole / sum(times.values())
    return {name: one * scale for name, one in times.items()}


def _in_turns(sessions: list[Session], feeds: Mapping[str, Array]) -> list[float]:
    """Seconds of the shortest run of each session."""
    shortest = [float("inf")] * len(sessions)
    begin = time.perf_counter()
    for done in range(WARMUP + MOST_RUNS):
        if done >= WARMUP + FEWEST_RUNS and time.perf_counter() - begin > TURN_SECONDS:
            break
        for index, session in enumerate(sessions):
            before = time.perf_counter()
            run_session(session, feeds)
            shortest[index] = min(shortest[index], time.perf_counter() - before)
    return shortest
