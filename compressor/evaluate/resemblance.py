"""How far the outputs of a compressed model are from the original's, and how often it is right, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from compressor.core.arrays import Array, Floats
from compressor.data.labels import IGNORED
from compressor.data.output_units import OutputUnits, are_probabilities
from compressor.metrics.metric import AGREEMENT

DISTANCE, RELATIVE = "distance", "relative_error"


@dataclass
class ComparedOutputs:
    """What outputs of the models are compared by; decided on the first samples that the original gives.

    Attributes:
        labels: shape of one sample's labels; None without labels that are classes.
        axes: axis of the classes of each output that holds scores of classes.
        likely: those of them that are probabilities already.
        left_out: why an output is not compared.
        units: parts of each other output that are in units of their own.
        scored: the output that labels are about.
    """

    labels: tuple[int, ...] | None = None
    axes: dict[str, int] = field(default_factory=dict)
    likely: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    units: dict[str, OutputUnits] = field(default_factory=dict)
    scored: str = ""

    def decide(self, outputs: Mapping[str, Array], samples: int) -> None:
        """Outputs [n, classes] hold scores of classes, and so does the one that labels are about."""
        for name, array in outputs.items():
            if not _floating(array):
                self.left_out[name] = f"it is {array.dtype.name}, and only floating-point outputs are compared"
            elif array.ndim == 0 or len(array) != samples:
                self.left_out[name] = "its first axis does not count samples"
            # The first output whose shape fits the labels; a second one (an auxiliary head) is compared and not judged.
            elif not self.scored and self.labels is not None and (axis := _class_axis(array, self.labels)):
                self.scored, self.axes[name] = name, axis
            elif array.ndim == 2 and array.shape[1] > 1:
                self.axes[name] = 1
            if name in self.axes and are_probabilities(array, self.axes[name]):
                self.likely.add(name)

    def compare(self, name: str, original: Array, found: Array) -> dict[str, Floats]:
        """By measure, float64[n]; empty, with a reason in ``left_out``, where the two do not have the same shape.

        The relative error is the norm of the difference over the norm of the original, of the part in a unit of its own
        that moved most. Of scores of classes also the norm of the difference of probabilities, and the share of
        positions whose largest score is at the same place (arXiv 2103.03014).
        """
        if original.shape != found.shape:
            shapes = [list(array.shape) for array in (original, found)]
            self.left_out[name] = f"it has shape {shapes[0]} in the original and {shapes[1]} in a compressed model"
            return {}
        one, two = original.astype(np.float64), found.astype(np.float64)
        axis = self.axes.get(name)
        units = OutputUnits() if axis is not None else self.units.setdefault(name, OutputUnits.of(one))
        pairs = zip(units.split(one), units.split(two), strict=True)
        measures = {
            RELATIVE: np.max(
                [_relative(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs], axis=0
            )
        }
        if axis is not None:
            same = one.argmax(axis) == two.argmax(axis)
            # A softmax of probabilities would make them nearly uniform, and differences vanish.
            apart = two - one if name in self.likely else softmax(two, axis) - softmax(one, axis)
            measures[AGREEMENT] = same.reshape(len(same), -1).mean(axis=1)
            measures[DISTANCE] = np.linalg.norm(apart, axis=axis).reshape(len(same), -1).mean(axis=1)
        return measures

    def right(self, outputs: Mapping[str, Array], labels: Array) -> Floats:
        """Share of each sample's labels that the largest score is at; NaN for samples without a label that counts."""
        found = outputs[self.scored].argmax(self.axes[self.scored])
        counted = (labels != IGNORED).reshape(len(labels), -1)
        hits = (found == labels).reshape(len(labels), -1) & counted
        totals = counted.sum(axis=1)
        return np.asarray(np.where(totals > 0, hits.sum(axis=1) / np.maximum(totals, 1), np.nan))


def _relative(one: Floats, two: Floats) -> Floats:
    """Norm of the difference over that of the original, float64[n]; over nothing any difference is infinite."""
    gap, norm = (np.linalg.norm(a.reshape(len(a), -1), axis=1) for a in (two - one, one))
    return np.asarray(np.divide(gap, norm, out=np.where(gap > 0, np.inf, 0.0), where=norm > 0))


def softmax(scores: Floats, axis: int) -> Floats:
    """Probabilities along an axis."""
    # The largest score is taken off, so that no power overflows.
    powers = np.exp(scores - scores.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


def _floating(array: Array) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _class_axis(scores: Array, labels: tuple[int, ...]) -> int:
    """The axis without which scores have the shape of labels; 0 where there is none."""
    axes = (axis for axis in (1, scores.ndim - 1) if scores.ndim == len(labels) + 2)
    return next((k for k in axes if (*scores.shape[1:k], *scores.shape[k + 1 :]) == labels), 0)
