"""What every built-in metric is: sums over batches, and one number in the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from compressor.core.arrays import Array
from compressor.data.batch import Batch
from compressor.errors import ModelError, UsageError

Outputs = Mapping[str, Array]
"""What a model gives for one batch: array by name of the output, in the order of the graph."""
AGREEMENT = "agreement"
"""Name of the share of samples, or positions, that have the class that they have in the original."""


class Metric(ABC):
    """Sums of one model over the batches of a data set. An object measures once.

    Attributes:
        name: as ``--eval`` takes it.
        higher_is_better: the direction; a perplexity, for one, is better when it is lower.
        share: values lie between 0 and 1, and are shown as per cent.
        relative_drop: a drop is counted as a share of the original's value; otherwise it is a difference.
        counted: values are the share of samples that are met.
        needs_labels: labels say what is right. Without, the original's outputs or the inputs do.
        against_original: where labels are no numbers of the form of the outputs, the original's outputs take their
            place.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    share: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    counted: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True
    against_original: ClassVar[bool] = False

    @classmethod
    def check_labels(cls, labels: Array) -> None:
        """Raises UsageError where labels of samples are of no form that the metric takes, whatever outputs are."""
        # Most metrics hold labels against outputs, of which nothing is known here.
        del labels

    @abstractmethod
    def add(self, outputs: Outputs, batch: Batch, original: Outputs | None) -> None:
        """Takes in one batch.

        Args:
            outputs: of the model that is judged.
            batch: its samples, with labels where there are any.
            original: outputs of the original on the same samples, where :attr:`against_original` asks for them.

        Raises:
            UsageError: labels or outputs are not of the form that the metric is for.
            ModelError: outputs hold NaN.
        """

    @abstractmethod
    def value(self) -> float:
        """The metric of all batches together.

        Raises:
            UsageError: nothing that counts was among them.
        """


def first_floating(outputs: Outputs, metric: str) -> tuple[str, Array]:
    """The first output of floating numbers, with its name.

    Raises:
        UsageError: there is none.
        ModelError: it holds NaN.
    """
    for name, values in outputs.items():
        if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
            return name, without_nan(name, values)
    raise UsageError(f"--eval {metric} reads an output of floating numbers, and the model has none")


def without_nan(name: str, values: Array) -> Array:
    """The values in float64 or as they are; raises ModelError where one is NaN."""
    # 16-bit sums of many numbers lose digits, or overflow.
    wide = values.astype(np.float64) if values.dtype.name in ("bfloat16", "float16") else values
    if wide.dtype.kind == "f" and np.isnan(wide).any():
        raise ModelError(f"output {name!r} holds NaN, so that no metric can be taken of it; look at the model or data")
    return wide


def wanted_numbers(metric: str, name: str, values: Array, batch: Batch, original: Outputs | None) -> Array:
    """What values are held against: labels that are numbers of the same shape, else the original's output.

    Raises:
        UsageError: there is neither, or shapes differ.
    """
    labels = batch.labels
    # Whole numbers are classes, which say nothing about such an output.
    if labels is not None and labels.dtype.kind == "f":
        if labels.shape != values.shape:
            raise UsageError(
                f"--eval {metric} holds output {name!r} {list(values.shape)} against labels of that shape, and these "
                f"are {list(labels.shape)}; give such labels, or none to hold it against the original's output"
            )
        return labels
    if original is None:
        raise UsageError(
            f"--eval {metric} holds output {name!r} {list(values.shape)} against the original's or against labels of "
            "that shape, and neither is there"
        )
    other = without_nan(name, original[name])
    if other.shape != values.shape:
        raise UsageError(
            f"output {name!r} is {list(values.shape)}, and the original's {list(other.shape)}; give the model "
            "that this one was made from"
        )
    return other
