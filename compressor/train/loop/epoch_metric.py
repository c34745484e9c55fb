"""A metric that is measured after each epoch, and decides which is best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from compressor.train.loop.distributed import Processes


@dataclass(frozen=True)
class EpochMetric:
    """A metric of the module that is trained.

    Attributes:
        name: for messages.
        higher_is_better: the direction.
        measure: the value for the weights that the module holds when it is called.
    """

    name: str
    higher_is_better: bool
    measure: Callable[[], float]

    def of(self, processes: Processes) -> float:
        """The value, measured in the main process and known in all."""
        # Every process takes part in the sum; the others hold the same weights, and would only measure the same.
        value = self.measure() if processes.main else 0.0
        return float(processes.sum(torch.tensor(value, dtype=torch.float64, device=processes.device)))
