"""Data and modules for tests of the training loop."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import numpy as np
import torch

from compressor.core.arrays import Array
from compressor.data import Batch, Indices
from compressor.train.loop.extension import Extension
from compressor.train.loop.objective import DeviceBatch, Objective
from compressor.train.loop.split import Splits
from compressor.train.module.pieces import ModuleOutputs

torch.set_num_threads(1)


@dataclass
class Memory:
    """Samples in memory."""

    inputs: dict[str, Array]
    labels: Array | None = None

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, indices: Indices) -> Batch:
        labels = None if self.labels is None else self.labels[indices]
        return Batch({name: array[indices] for name, array in self.inputs.items()}, labels)


class Net(torch.nn.Module):
    """A convolution, a dropout that draws random numbers, and a head; its input is called x."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.head = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.conv(x)).mean((2, 3))
        found: torch.Tensor = self.head(torch.nn.functional.dropout(hidden, 0.2, self.training))
        return found


def cross_entropy(outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> torch.Tensor:
    assert batch.labels is not None
    return torch.nn.functional.cross_entropy(outputs[0], batch.labels)


def accuracy(outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> torch.Tensor:
    assert batch.labels is not None
    return outputs[0].argmax(1).eq(batch.labels).double().mean()


def samples(count: int = 40, seed: int = 1) -> Memory:
    """Images whose class is the quarter of the brightness they fall into."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    x = rng.normal(0, 0.5, (count, 3, 6, 6)) + labels[:, None, None, None] - 1.5
    return Memory({"x": x.astype(np.float32)}, labels.astype(np.int64))


def splits(train: int = 40, valid: int = 12) -> Splits:
    return Splits(samples(train), samples(valid, seed=2) if valid else None)


def objective(**options: object) -> Objective:
    return Objective([(1.0, cross_entropy)], metric=("accuracy", accuracy), **options)  # type: ignore[arg-type]


class StopAfter(Extension):
    """Sends a signal to this process after a step, as a user would."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def after_step(self, module: torch.nn.Module, step: int) -> None:
        if step == self.step:
            os.kill(os.getpid(), self.number)
