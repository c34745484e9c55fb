"""What training minimises and how it is judged, as the loop sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compressor.data.batch import samples_in
from compressor.train.loop.epoch_metric import EpochMetric
from compressor.train.module.pieces import ModuleOutputs, run_module

Tensor = torch.Tensor


@dataclass(frozen=True)
class DeviceBatch:
    """A batch on the device.

    Attributes:
        inputs: tensor [n, ...] by name of the graph's input.
        labels: as the data gives them, or None.
    """

    inputs: dict[str, Tensor]
    labels: Tensor | None = None

    def __len__(self) -> int:
        return samples_in(self.inputs)


LossTerm = Callable[[ModuleOutputs, DeviceBatch, ModuleOutputs], Tensor]
"""From the module's outputs, the batch, and the teacher's outputs (empty without one) to a scalar of the batch: the
mean over samples of a loss or a metric."""


class Objective:
    """A weighted sum of terms, a metric, and the module that is imitated.

    Args:
        terms: weights and losses.
        metric: name, and what it is of one batch; higher is better.
        teacher: runs without gradient in evaluation, beside the module.
        chunk: samples that the graph takes at a time where its batch size is fixed; a batch is run in such pieces.
        check: looks at the labels of a batch before it goes to the device, and raises where they cannot be right.

    Attributes:
        metric_name: of the metric; None without one.
        epoch_metric: where there is one, it and not the loss says which epoch is best.
    """

    def __init__(
        self,
        terms: Sequence[tuple[float, LossTerm]],
        *,
        metric: tuple[str, LossTerm] | None = None,
        teacher: torch.nn.Module | None = None,
        chunk: int | None = None,
        check: Callable[[npt.NDArray[np.generic]], None] | None = None,
    ) -> None:
        self.terms, self.teacher, self.chunk, self.check = list(terms), teacher, chunk, check
        self.metric_name = metric[0] if metric is not None else None
        self._metric = metric[1] if metric is not None else None
        self.epoch_metric: EpochMetric | None = None
        if teacher is not None:
            # The teacher stays in evaluation for good; a later ``train()`` of the module that is trained does not
            # reach it.
            teacher.eval().requires_grad_(False)

    def judged_by(self, metric: EpochMetric | None) -> Objective:
        """The same, with ``metric`` for what says which epoch is best."""
        other = copy(self)
        other.epoch_metric = metric
        return other

    def __call__(self, outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> Tensor:
        """The loss, float32 or wider."""
        # The device is that of the outputs, since the objective itself is never moved.
        total = torch.zeros((), device=outputs[0].device)
        for weight, term in self.terms:
            total = total + weight * term(outputs, batch, taught)
        return total

    def measure(self, outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> Tensor | None:
        """The metric of a batch."""
        return None if self._metric is None else self._metric(outputs, batch, taught)

    def run(self, module: Callable[..., Any], batch: DeviceBatch) -> ModuleOutputs:
        """The module's outputs, in float32 where they came in a narrower type."""
        return run_module(module, batch.inputs, self.chunk)

    def teach(self, batch: DeviceBatch) -> ModuleOutputs:
        """The teacher's outputs, without gradient; none without a teacher."""
        if self.teacher is None:
            return ()
        with torch.no_grad():
            return run_module(self.teacher, batch.inputs, self.chunk)
