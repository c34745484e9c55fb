"""Mean average precision of detectors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from compressor.core.arrays import Array, Floats
from compressor.data.batch import Batch
from compressor.errors import UsageError
from compressor.metrics.detections import Detections, overlaps, read
from compressor.metrics.metric import Metric, Outputs

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps with the true box from which a found one is a hit; the metric is the mean over them."""
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_BOXES = 100
"""Boxes that count in an image for each class, those with the highest scores."""


@dataclass
class _Found:
    """Boxes of one class in all images: scores, and whether they are hits at each threshold."""

    wanted: int = 0
    scores: list[Floats] = field(default_factory=list)
    hits: list[npt.NDArray[np.bool_]] = field(default_factory=list)


class AveragePrecision(Metric):
    """Mean average precision as COCO defines it, of the boxes that :mod:`compressor.metrics.detections` reads.

    Labels are the true boxes, float32[n, m, 5]: x1, y1, x2, y2 in the model's own units, and the number of the class;
    rows with a class below 0 fill up. A found box is a hit where it overlaps most with a true box of its class that no
    box of a higher score has taken, by at least the threshold. Precision is interpolated at 101 recalls; the mean is
    over thresholds and over the classes that have true boxes. Source: Lin et al., *Microsoft COCO: Common Objects in
    Context*, 2014, and the evaluation that goes with it (cocoeval, 100 boxes an image and class); Everingham et al.,
    *The PASCAL Visual Object Classes (VOC) Challenge*, 2010, section 4.2.
    """

    name = "map"
    thresholds = THRESHOLDS

    @classmethod
    def check_labels(cls, labels: Array) -> None:
        """Raises UsageError where they are no boxes."""
        _demand_boxes(labels, cls.name)

    def __init__(self) -> None:
        self._found: dict[int, _Found] = {}

    def add(self, outputs: Outputs, batch: Batch, original: Outputs | None) -> None:  # noqa: ARG002
        """Matches the boxes of every image."""
        labels = _demand_boxes(batch.labels, self.name)
        found = read(outputs)
        if len(found) != len(labels):
            raise UsageError(
                f"there are labels of {len(labels)} images, and outputs of {len(found)}; give labels for every image, "
                "and a model that gives boxes for each"
            )
        for image, rows in zip(found, labels, strict=True):
            true = rows[rows[:, 4] >= 0].astype(np.float64)
            # Classes that are only found count as well: their boxes are misses.
            for number in np.union1d(true[:, 4].astype(np.int64), image.classes):
                self._match(int(number), image, true[true[:, 4] == number, :4])

    def _match(self, number: int, image: Detections, true: Floats) -> None:
        """Adds the boxes of one class in one image."""
        found = self._found.setdefault(number, _Found())
        found.wanted += len(true)
        own = np.flatnonzero(image.classes == number)
        # By score, and stable, as cocoeval sorts.
        own = own[np.argsort(-image.scores[own], kind="stable")][:MOST_BOXES]
        found.scores.append(image.scores[own])
        found.hits.append(matched(overlaps(image.boxes[own], true), self.thresholds))

    def value(self) -> float:
        """The mean average precision, between 0 and 1."""
        # A class without true boxes has no recall.
        classes = [found for found in self._found.values() if found.wanted]
        if not classes:
            raise UsageError(f"--eval {self.name}: no image has a true box")
        return float(np.mean([_average_precision(found) for found in classes]))


class AveragePrecision50(AveragePrecision):
    """The same at an overlap of one half alone, as the PASCAL VOC challenges had it."""

    name = "map50"
    thresholds = THRESHOLDS[:1]


def matched(table: Floats, thresholds: Floats) -> npt.NDArray[np.bool_]:
    """Which found boxes are hits at each threshold; bool[thresholds, found].

    Args:
        table: float64[found, true], overlaps, found boxes by falling score.
        thresholds: float64[thresholds].
    """
    count, wanted = table.shape
    hits = np.zeros((len(thresholds), count), bool)
    if not wanted:
        return hits
    free = np.ones((len(thresholds), wanted), bool)
    rows = np.arange(len(thresholds))
    for index in range(count):
        # A true box that is taken cannot be hit again; -1 is below every overlap.
        open_to = np.where(free, table[index], -1.0)
        best = open_to.argmax(1)
        # cocoeval's own bound: an overlap of one counts at a threshold of one in spite of rounding.
        hit = open_to[rows, best] >= np.minimum(thresholds, 1 - 1e-10)
        hits[hit, index] = True
        free[rows[hit], best[hit]] = False
    return hits


def _average_precision(found: _Found) -> float:
    """Mean over thresholds of the precision at 101 recalls, each the best at that recall or beyond."""
    scores = np.concatenate(found.scores)
    hits = np.concatenate(found.hits, axis=1)[:, np.argsort(-scores, kind="stable")]
    if not scores.size:
        return 0.0
    right = hits.cumsum(1)
    recall, precision = right / found.wanted, right / np.arange(1, scores.size + 1)
    # The best precision at that recall or beyond, which makes the curve fall.
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    parts = []
    for one, two in zip(recall, best, strict=True):
        place = np.searchsorted(one, RECALLS, side="left")
        # Recalls that are never reached have a precision of zero.
        parts.append(np.where(place < scores.size, two[np.minimum(place, scores.size - 1)], 0.0).mean())
    return float(np.mean(parts))


def _demand_boxes(labels: Array | None, metric: str) -> Array:
    if labels is None or labels.ndim != 3 or labels.shape[2] != 5:
        held = "the data has none" if labels is None else f"these are {list(labels.shape)}"
        raise UsageError(
            f"--eval {metric} needs labels [n, m, 5], rows of x1, y1, x2, y2 and class (below 0 where there is no "
            f"box), and {held}"
        )
    return labels
