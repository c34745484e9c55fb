"""A model with one knob, and a subject that turns it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.config import DataSettings
from compressor.data import Batch, Dataset, Indices
from compressor.errors import ModelError
from compressor.experiments.change import ReferenceOutputs
from compressor.experiments.run import Experiment, Trial, Variant
from compressor.graph.disk import files
from tests.models import in_memory, model

TEXT = "(float[n,3] x) => (float[n,3] y) <float[3,3] w> { y = MatMul(x, w) }"


class Samples:
    """Seeded numbers; labels are the largest of the three."""

    def __init__(self, count: int = 12, width: int = 3, *, labelled: bool = True) -> None:
        self.x = np.random.default_rng(5).normal(size=(count, width)).astype(np.float32)
        self.labelled = labelled

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: Indices) -> Batch:
        labels = self.x[indices].argmax(axis=1) if self.labelled else None
        return Batch({"x": self.x[indices]}, labels)


def identity(text: str = TEXT) -> ir.Model:
    """``y = x``."""
    made = in_memory(model(text))
    made.graph.initializers["w"].const_value = ir.tensor(np.eye(3, dtype=np.float32), name="w")
    return made


@dataclass(frozen=True)
class Scaled:
    """``y = x * factor``; opening it, and every variant, leaves a line in ``log``."""

    log: Path

    def open(self) -> Variant:
        source = identity()

        def scaled(text: str) -> ir.Model:
            with self.log.open("a") as file:
                file.write(f"{text}\n")
            if text == "fail":
                raise ModelError("it does not run")
            if text == "die":
                os._exit(9)
            copy = source.clone()
            weight = np.eye(3, dtype=np.float32) * np.float32(text)
            copy.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
            return copy

        return scaled


def experiment(folder: Path, samples: Dataset | None = None) -> Experiment:
    settings = DataSettings(samples=12, batch_size=5)
    reference = ReferenceOutputs.make(identity(), samples or Samples(), settings, folder)
    source = folder / "model"
    source.write_bytes(b"model")
    return Experiment(Scaled(folder / "log"), reference, files.digest([source]))


def trials(*factors: str) -> list[Trial]:
    return [Trial(f"times {factor}", factor) for factor in factors]


def seen(folder: Path) -> list[str]:
    log = folder / "log"
    return sorted(log.read_text().split()) if log.exists() else []
