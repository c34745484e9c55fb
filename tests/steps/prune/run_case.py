"""A pruning run of a small net, up to its first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.steps.prune.request import PruneRequest
from compressor.steps.prune.run import PruningRun
from compressor.steps.prune.start import RunStart, start_run
from tests.models import between, in_memory

CHAIN = between("b = Relu(a)")


@dataclass(frozen=True)
class Begun:
    """A run, and what it starts from."""

    run: PruningRun
    start: RunStart


def started(plan: PruningPlan | None = None, **settings: Any) -> Begun:
    asked = {"ratio": 0.5, "round_to": 1, "recover": "none", "scope": "local", **settings}
    request = PruneRequest.of(in_memory(CHAIN), PruneSettings.parse(asked), plan)
    start = start_run(request, {}, Clock())
    return Begun(PruningRun.of(request, start, {}, Clock()), start)
