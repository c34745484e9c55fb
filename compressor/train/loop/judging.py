"""What the weights of a module are worth while it is trained: a loss, a metric, and which of two are better."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from compressor.train.loop.distributed import Processes
from compressor.train.loop.extension import Extension
from compressor.train.loop.history import Judgement
from compressor.train.loop.objective import Objective
from compressor.train.loop.prefetch import Placing, feed
from compressor.train.loop.split import BatchSampler
from compressor.train.loop.stepping import Stepper
from compressor.train.loop.validation import evaluating, judge


@dataclass(frozen=True)
class WeightJudge:
    """Judges a module by the samples that are for that.

    Attributes:
        module: as it is when it is judged.
        objective: what is low for better weights, and a metric of the user's that comes before that.
        sampler: have the samples.
        extensions: may put averaged weights in place of the module's own.
        placing: brings samples to the device.
        processes: all processes, each of which judges a part.
    """

    module: torch.nn.Module
    objective: Objective
    sampler: BatchSampler
    extensions: Sequence[Extension]
    placing: Placing
    processes: Processes

    @property
    def metric_name(self) -> str | None:
        """Of the metric that is shown; None without one."""
        metric = self.objective.epoch_metric
        return self.objective.metric_name if metric is None else metric.name

    def weights(self) -> AbstractContextManager[None]:
        """The module holds the weights that are judged: averaged ones, where an extension has such."""
        averages = [found for e in self.extensions if (found := e.averaged(self.module)) is not None]
        return evaluating(self.module, averages[-1] if averages else None)

    def of(self, stepper: Stepper) -> Judgement:
        """Loss and metric of the weights that are judged; ``stepper`` says how the module is run."""
        with self.weights():
            return self.as_is(stepper)

    def as_is(self, stepper: Stepper) -> Judgement:
        """Loss and metric of the weights that the module holds."""
        metric = self.objective.epoch_metric
        with evaluating(self.module, None):
            found = self.loss(stepper)
            return found if metric is None else replace(found, metric=metric.of(self.processes))

    def loss(self, stepper: Stepper) -> Judgement:
        """The loss over the judged samples, and what is measured along with it."""
        batches = feed(self.sampler.judged(), self.placing)
        return judge(stepper.forward, self.objective, batches, stepper.precision, self.processes)

    @property
    def decided_by(self) -> str:
        """What the best weights are chosen by: loss, or the metric that was asked for."""
        return "loss" if self.objective.epoch_metric is None else self.objective.epoch_metric.name

    def value(self, cost: float) -> float:
        """The loss or metric of what costs so much."""
        metric = self.objective.epoch_metric
        return -cost if metric is not None and metric.higher_is_better else cost

    def cost(self, found: Judgement) -> float:
        """What is lower for better weights."""
        metric = self.objective.epoch_metric
        if metric is None or found.metric is None:
            return found.loss
        return -found.metric if metric.higher_is_better else found.metric
