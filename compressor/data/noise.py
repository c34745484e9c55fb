"""Samples for a model whose data nobody has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.data.batch import Array, Batch, Dataset, Indices
from compressor.data.spec import batch_limit, specs
from compressor.errors import UsageError
from compressor.graph.binding import Shape
from compressor.graph.feeds import feeds
from compressor.graph.shapes import Shapes, infer


@dataclass(frozen=True)
class Noise:
    """Random samples, made when they are taken; each follows from the seed and its index alone."""

    model: ir.Model
    shapes: Shapes
    count: int
    seed: int

    @property
    def labelled(self) -> bool:
        """Nobody knows the class of noise."""
        return False

    def __len__(self) -> int:
        return self.count

    def take(self, indices: Indices) -> Batch:
        """The samples at ``indices``."""
        if not len(indices):
            return Batch({name: array[:0] for name, array in self._sample(0).items()})
        made = [self._sample(int(index)) for index in indices]
        return Batch({name: np.concatenate([sample[name] for sample in made]) for name in made[0]})

    def _sample(self, index: int) -> dict[str, Array]:
        sizes = {name: (1, *shape[1:]) for name, shape in self.shapes.inputs.items()}
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0])
        made = feeds(self.model, sizes, self.shapes, seed)
        for spec in specs(self.model):
            if spec.image and spec.dtype == ir.DataType.UINT8:  # pixels, not indices
                made[spec.name] = np.random.default_rng(seed).integers(0, 256, sizes[spec.name], np.uint8)
        return made


def noise(
    model: ir.Model,
    count: int,
    seed: int,
    sizes: Mapping[str, int] | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> Dataset:
    """``count`` random samples: unit normal numbers, and integers within the tables that they pick from.

    Args:
        model: normalised; not changed.
        count: samples.
        seed: of all randomness.
        sizes: size by symbolic dimension, as the user gave them; others are found by what the graph accepts.
        shapes: shape by input, as the user gave them; their first axis does not count.

    Raises:
        ModelError: an input has no rank, a name is unknown, or no size that was tried fits the graph.
        UsageError: samples cannot fill the inputs.
    """
    if count < 1:
        raise UsageError(f"{count} samples are none; ask for at least one")
    batch_limit(model)
    bound = infer(model, shapes, sizes)
    lacking = [spec.quoted for spec in specs(model) if not bound.inputs[spec.name]]
    if lacking:
        raise UsageError(f"{lacking[0]} is a scalar, which has no axis of samples; make it a constant of the model")
    return Noise(model, bound, count, seed)
