"""What training, calibration and evaluation read: samples in batches, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from compressor.core.arrays import Array

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Samples stacked along the first axis.

    Attributes:
        inputs: array [n, ...] by the name of the graph's input, in its element type; of an input without axes the one
            number that all samples of the batch have in common.
        labels: whatever the data calls labels, stacked; int64[n] for classes; None where there are none.
    """

    inputs: dict[str, Array]
    labels: Array | None = None

    def __len__(self) -> int:
        return samples_in(self.inputs)


def samples_in(inputs: Mapping[str, Any]) -> int:
    """How many samples arrays or tensors of a batch hold: those that have axes agree on it."""
    return next(len(array) for array in inputs.values() if array.ndim)


class Dataset(Protocol):
    """Samples that can be read in any order, any number of times."""

    @property
    def labelled(self) -> bool:
        """Whether batches have labels."""
        ...

    def __len__(self) -> int: ...

    def take(self, indices: Indices) -> Batch:
        """The samples at ``indices``, in that order, as the model wants them (normalised, in its layout)."""
        ...
