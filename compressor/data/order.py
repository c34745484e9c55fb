"""Which samples come when: order, parts, batches; the same for the same seed on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compressor.core.arrays import Array
from compressor.data.augment import Augment
from compressor.data.batch import Batch, Dataset, Indices
from compressor.data.labels import all_labels

JUDGED, FEWEST_JUDGED, MOST_JUDGED = 0.1, 64, 0.25
"""Share of samples to judge on; how few tell too little (a share of one half is known to 12 points then); and the share
that those for learning can spare."""


@dataclass(frozen=True)
class Subset:
    """Some samples of another dataset.

    Attributes:
        dataset: the other one.
        indices: which of its samples, in order.
    """

    dataset: Dataset
    indices: Indices

    @property
    def labelled(self) -> bool:
        """Whether batches have labels."""
        return self.dataset.labelled

    @property
    def labels(self) -> Array | None:
        """Labels of these samples."""
        found = all_labels(self.dataset)
        return None if found is None else found[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Indices) -> Batch:
        """The samples at ``indices`` of this part."""
        return self.dataset.take(self.indices[indices])


@dataclass(frozen=True)
class Unlabelled:
    """Another dataset without its labels, for what imitates and is judged on samples that have none."""

    dataset: Dataset

    @property
    def labelled(self) -> bool:
        """Are there labels? None are handed out, whatever the other dataset has."""
        return False

    def __len__(self) -> int:
        return len(self.dataset)

    def take(self, indices: Indices) -> Batch:
        """The samples at ``indices``."""
        return Batch(self.dataset.take(indices).inputs, None)


def undivided(data: Dataset) -> Dataset:
    """What a dataset is a part of, or takes its samples from; itself where it is none."""
    while (inner := getattr(data, "dataset", None)) is not None:
        data = inner
    return data


def shuffled(count: int, seed: int, epoch: int) -> Indices:
    """0 to ``count`` - 1 in an order of their own for each epoch; int64[count]."""
    # Seed and epoch together, so that epochs differ and a resumed one is the same.
    return np.random.default_rng([seed, epoch]).permutation(count).astype(np.int64)


def subset(dataset: Dataset, count: int, seed: int) -> Dataset:
    """``count`` samples drawn at random, in the order drawn; all of them where there are no more."""
    return Subset(dataset, _drawn(len(dataset), seed)[:count])


def split_dataset(dataset: Dataset, share: float | None, seed: int, batch: int = 1) -> tuple[Dataset, Dataset]:
    """Two parts without a common sample: the rest, and ``share`` of the samples.

    Where labels are classes, the second part has ``share`` of each class, as far as whole samples go.

    Args:
        dataset: what is split; the second part of a single batch is empty.
        share: of the second part, in [0, 1), but at least one batch; 0 leaves it empty. None is :data:`JUDGED`, or
            :data:`FEWEST_JUDGED` samples where that is less, but at most :data:`MOST_JUDGED`.
        seed: draws the samples.
        batch: samples that a model takes at a time; the second part has whole ones.
    """
    order = _drawn(len(dataset), seed)
    if share is None:
        share = max(JUDGED, min(FEWEST_JUDGED / max(len(dataset), 1), MOST_JUDGED))
    most = len(dataset) // batch - 1
    # At least one batch to judge by, and at least one to learn from.
    count = batch * min(max(round(share * len(dataset) / batch), 1), most) if share and most > 0 else 0
    labels = all_labels(dataset) if count else None
    if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu":
        chosen = _by_class(labels[order], count)
    else:
        chosen = np.arange(len(order)) < count
    # Sorted, so that a mapped file is read from front to back.
    return Subset(dataset, np.sort(order[~chosen])), Subset(dataset, np.sort(order[chosen]))


def batches(
    dataset: Dataset,
    size: int,
    *,
    order: Indices | None = None,
    augment: Augment | None = None,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """The samples in batches.

    Args:
        dataset: what is read.
        size: samples in a batch.
        order: int64, which samples and when; from first to last by default.
        augment: changes samples by their index in ``dataset``.
        drop_last: leave out the last batch where it is smaller.
    """
    chosen = np.arange(len(dataset), dtype=np.int64) if order is None else order
    end = len(chosen) // size * size if drop_last else len(chosen)
    for start in range(0, end, size):
        indices = chosen[start : min(start + size, end)]
        batch = dataset.take(indices)
        yield batch if augment is None else augment(batch, indices)


def _drawn(count: int, seed: int) -> Indices:
    return np.random.default_rng(seed).permutation(count).astype(np.int64)


def _by_class(labels: Array, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Marks ``count`` labels, of each class its share; what rounding leaves goes to the largest remainders."""
    names, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    exact = count * sizes / len(labels)
    quota = np.floor(exact).astype(np.int64)
    # Stable, so that equal remainders go to the lower classes on every machine.
    quota[np.argsort(quota - exact, kind="stable")[: count - int(quota.sum())]] += 1
    chosen = np.zeros(len(labels), bool)
    for index in range(len(names)):
        chosen[np.flatnonzero(classes == index)[: quota[index]]] = True
    return chosen
