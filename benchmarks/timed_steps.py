"""Steps of training on random images, timed: what benchmarks of extensions share."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from compressor.config import TuneSettings
from compressor.train.loop.distributed import processes_of
from compressor.train.loop.extension import Extension
from compressor.train.loop.objective import DeviceBatch, Objective
from compressor.train.loop.stepping import Stepper
from compressor.train.module.graph_module import GraphModule


class TimedSteps:
    """A module that makes steps on one batch of random images of 3 x 32 x 32 and ten classes.

    Attributes:
        module: is trained, in place.
        index: steps done.
    """

    def __init__(
        self, module: GraphModule, extensions: Sequence[Extension], settings: TuneSettings, batch: int, steps: int
    ) -> None:
        self.module, self.index = module.train(), 0
        objective = Objective([(1.0, lambda ours, batch, _: torch.nn.functional.cross_entropy(ours[0], batch.labels))])
        self._stepper = Stepper(self.module, objective, extensions, settings, processes_of("cpu"))
        self._stepper.start(steps)
        rng = np.random.default_rng(0)
        images = torch.from_numpy(rng.standard_normal((batch, 3, 32, 32)).astype(np.float32))
        self._samples = DeviceBatch({"image": images}, torch.from_numpy(rng.integers(0, 10, batch)))

    def step(self) -> float:
        """Seconds of the process for one step."""
        start = time.process_time()
        self._stepper.step(self._samples, self.index, len(self._samples), False)
        self.index += 1
        return time.process_time() - start
