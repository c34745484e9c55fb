"""Boxes that a detector found, read from its outputs in the forms that exporters write.

========================================  ======================================================  ==================
outputs                                   as written by                                           boxes
========================================  ======================================================  ==================
[n, k, 6]                                 detectors that suppress doubles themselves (YOLOv10,    corners, score,
                                          Ultralytics with ``nms=True``)                          class
[n, 4 + c, k]                             YOLOv8 and later                                        centre, size
[n, k, 5 + c]                             YOLOv5, v7, YOLOX: box, objectness, classes             centre, size
boxes [n, k, 4], scores [n, k, c]         SSD, RetinaNet and others, either order of the          see below
or [n, c, k]                              outputs
boxes [n, k, 4], scores [n, k],           torchvision and others, after suppression; one image    corners
classes [n, k]                            at a time also without the first axis
========================================  ======================================================  ==================

Scores beyond 0 and 1 are logits, and go through the logistic function. Separate boxes are corners (x1, y1, x2, y2),
unless more than one in a hundred would have its right or lower edge before the other one: then they are centre and
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressor.core.arrays import Array, Floats
from compressor.errors import UsageError
from compressor.metrics.metric import Outputs, without_nan

SUPPRESSED_AT = 0.7
"""Overlap from which the lower of two boxes of one class is a double."""
LOWEST_SCORE = 0.001
"""Boxes below it are not counted, as in the validation of the YOLO family, whose published numbers are taken so."""
CANDIDATES, KEPT = 1000, 300
"""Boxes of one image that suppression looks at, and that it leaves at most, those with the highest scores."""
CROSSED = 0.01
"""Share of boxes whose end lies before their start from which on numbers are centre and size, and no corners."""
BOX_FORMS = "[n, 4+classes, k], [n, k, 5+classes], [n, k, 6], or boxes [n, k, 4] with scores [n, k, classes]"


@dataclass(frozen=True)
class Detections:
    """What was found in one image.

    Attributes:
        boxes: float64[k, 4], corners x1, y1, x2, y2.
        scores: float64[k].
        classes: int64[k].
    """

    boxes: Floats
    scores: Floats
    classes: Array


def read(outputs: Outputs) -> list[Detections]:
    """What was found in each image of a batch.

    Raises:
        UsageError: the outputs are of no form above.
        ModelError: they hold NaN.
    """
    arrays = [without_nan(name, values) for name, values in outputs.items()]
    # Files for one image at a time leave out the first axis.
    arrays = [array[None] if array.ndim == 1 or (array.ndim == 2 and _single(arrays)) else array for array in arrays]
    found = _joint(arrays) if len(arrays) == 1 else _apart(arrays)
    if found is None:
        told = ", ".join(f"{name!r} {list(values.shape)}" for name, values in outputs.items())
        raise UsageError(
            f"--eval map knows outputs {BOX_FORMS}, and the model gives {told}; write a metric of your own"
        )
    return found


def _single(arrays: Sequence[Array]) -> bool:
    """Are these boxes [k, 4] with scores [k] and classes [k] of one image?"""
    return sorted(array.ndim for array in arrays) == [1, 1, 2]


def _joint(arrays: Sequence[Array]) -> list[Detections] | None:
    """One output that holds all."""
    (whole,) = arrays
    if whole.ndim != 3:
        return None
    # Before the other forms, one of which also has a third axis of six, for one class: class numbers are whole.
    if whole.shape[2] == 6 and np.array_equal(whole[..., 5], np.round(whole[..., 5])):
        return [_final(rows[:, :4], rows[:, 4], rows[:, 5]) for rows in whole]
    # The longer axis counts boxes.
    if 4 < whole.shape[1] < whole.shape[2]:
        rows = np.swapaxes(whole, 1, 2)
        return [_suppressed(_corners(image[:, :4]), _shares(image[:, 4:])) for image in rows]
    if 5 < whole.shape[2] < whole.shape[1]:
        # Objectness times class, as the exporters' own code has it.
        return [_suppressed(_corners(image[:, :4]), _shares(image[:, 4:5]) * _shares(image[:, 5:])) for image in whole]
    return None


def _apart(arrays: Sequence[Array]) -> list[Detections] | None:
    """Boxes and scores, and perhaps classes, in outputs of their own."""
    boxes = next((a for a in arrays if a.ndim == 3 and a.shape[2] == 4 and a.dtype.kind == "f"), None)
    if boxes is None:
        return None
    lists = [a for a in arrays if a.shape == boxes.shape[:2]]
    # Scores are floats; the other list holds classes, in whichever type.
    scores = next((a for a in lists if a.dtype.kind == "f"), None)
    classes = next((a for a in lists if a is not scores), None)
    if scores is not None and classes is not None:
        return [_final(*image) for image in zip(_as_corners(boxes), scores, classes, strict=True)]
    for table in arrays:
        if table is boxes or table.ndim != 3 or table.dtype.kind != "f":
            continue
        if table.shape[:2] == boxes.shape[:2] or (table.shape[0], table.shape[2]) == boxes.shape[:2]:
            rows = table if table.shape[:2] == boxes.shape[:2] else np.swapaxes(table, 1, 2)
            return [_suppressed(*image) for image in zip(_as_corners(boxes), _shares(rows), strict=True)]
    return None


def _as_corners(boxes: Array) -> Floats:
    wide = boxes.astype(np.float64)
    crossed = (wide[..., 2] < wide[..., 0]) | (wide[..., 3] < wide[..., 1])
    # Rounding may turn a few boxes of no size around, so one alone does not decide.
    return _corners(wide) if crossed.size and crossed.mean() > CROSSED else wide


def _corners(boxes: Array) -> Floats:
    """From centre and size."""
    wide = boxes.astype(np.float64)
    half = wide[..., 2:] / 2
    return np.concatenate([wide[..., :2] - half, wide[..., :2] + half], -1)


def _shares(scores: Array) -> Floats:
    wide = scores.astype(np.float64)
    # Clipped before the exponential, which would overflow.
    if wide.size and (wide.min() < 0 or wide.max() > 1):
        return np.asarray(1 / (1 + np.exp(-np.clip(wide, -500, 500))))
    return wide


def _final(boxes: Array, scores: Array, classes: Array) -> Detections:
    """Boxes that need no suppression; those without a score are fillers."""
    wide = scores.astype(np.float64)
    kept = np.asarray(wide > 0, bool)
    return Detections(boxes[kept].astype(np.float64), wide[kept], np.round(classes[kept]).astype(np.int64))


def _suppressed(boxes: Floats, scores: Floats) -> Detections:
    """The boxes of one image after suppression of doubles within each class.

    Source: the greedy rule of Felzenszwalb et al., *Object Detection with Discriminatively Trained Part-Based Models*,
    2010, section 7.2; a box counts once for every class that it scores for.

    Args:
        boxes: float64[k, 4], corners.
        scores: float64[k, classes].
    """
    # Boxes below the lowest score cannot matter, and there are tens of thousands of them.
    row, column = np.nonzero(scores >= LOWEST_SCORE)
    values = scores[row, column]
    order = np.argsort(-values, kind="stable")[:CANDIDATES]
    row, column, values = row[order], column[order], values[order]
    chosen = boxes[row]
    kept: list[int] = []
    left = np.arange(len(row))
    while left.size and len(kept) < KEPT:
        best, rest = left[0], left[1:]
        kept.append(int(best))
        # Only boxes of one class are doubles of each other.
        double = (column[rest] == column[best]) & (overlaps(chosen[best][None], chosen[rest])[0] > SUPPRESSED_AT)
        left = rest[~double]
    return Detections(chosen[kept], values[kept], column[kept].astype(np.int64))


def overlaps(one: Floats, two: Floats) -> Floats:
    """Intersection over union of every pair of boxes; float64[a, b].

    Args:
        one: float64[a, 4], corners.
        two: float64[b, 4], corners.
    """
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    union = _areas(one)[:, None] + _areas(two)[None] - common
    # Two boxes without area have no union.
    return np.asarray(common / np.where(union > 0, union, 1.0))


def _areas(boxes: Floats) -> Floats:
    return np.asarray(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1))
