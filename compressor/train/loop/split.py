"""What is learnt from, and what each epoch is judged on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from compressor.config import DataSettings, TuneSettings
from compressor.core.formatting import count, there_are
from compressor.data import Augment, Batch, Dataset, Indices, batches, shuffled
from compressor.errors import UsageError
from compressor.train.loop.distributed import Processes

SET_ASIDE = "set aside"
"""What samples to judge on are called that were split off."""


@dataclass(frozen=True)
class JudgedSamples:
    """Samples that epochs are judged on: how many, and whether training sees them too."""

    samples: int
    seen: bool
    aside: str = SET_ASIDE

    def in_words(self) -> str:
        """Which samples these are: ``450 samples set aside``."""
        return f"{count(self.samples, 'sample')} {'that are trained on' if self.seen else self.aside}"

    def __str__(self) -> str:
        return count(self.samples, "sample") + (", which training saw too" if self.seen else "")


@dataclass(frozen=True)
class Splits:
    """Samples for training and, where any are set aside, for judging.

    Attributes:
        train: is trained on.
        valid: judges epochs; None where samples for training do.
        augment: for an epoch, counted from 0, what changes its training samples.
        aside: what ``valid`` is called.
    """

    train: Dataset
    valid: Dataset | None = None
    augment: Callable[[int], Augment | None] | None = None
    aside: str = SET_ASIDE

    @property
    def judges(self) -> Dataset:
        """What epochs are judged on."""
        return self.train if self.valid is None else self.valid

    def judged(self, most: int) -> JudgedSamples:
        """How many samples that are: at most ``most`` of those that are trained on."""
        seen = self.valid is None
        return JudgedSamples(min(most, len(self.judges)) if seen else len(self.judges), seen, self.aside)


def aside_of(settings: DataSettings) -> str:
    """What samples to judge on are called: those that were given for it were not set aside."""
    return SET_ASIDE if settings.val_data is None else "of --val-data"


class BatchSampler:
    """Which samples come when, for one process among several.

    Without samples set aside, ``settings.samples`` of those for training are judged.

    Raises:
        UsageError: there are fewer samples than processes.
    """

    def __init__(self, data: Splits, settings: TuneSettings, processes: Processes) -> None:
        self._data, self._seed, self._processes = data, settings.seed, processes
        self._batch_size, self._judged = settings.batch_size, settings.samples
        count = len(data.train)
        if count < processes.size:
            found = "are no samples" if not count else f"{there_are(count, 'sample')} for {processes.size} processes"
            raise UsageError(f"there {found} to train on; give data with more of them")
        # With fewer samples than a batch all of them are one batch.
        self.whole = min(self._batch_size * processes.size, count)
        self.steps = count // self.whole

    @property
    def sets_aside(self) -> bool:
        """Are the judged samples others than those for training?"""
        return self._data.valid is not None

    @property
    def judged_on(self) -> str:
        """The judged samples, in words."""
        return self._data.judged(self._judged).in_words()

    def epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        """This process's batches of an epoch from step ``start`` on; what is left over at the end is not used."""
        order = shuffled(len(self._data.train), self._seed, epoch)[: self.steps * self.whole]
        # Processes share each batch, so that two of them do what one does with twice the batch.
        own = order.reshape(self.steps, self.whole)[start:, self._processes.share(self.whole)]
        augment = self._data.augment(epoch) if self._data.augment is not None else None
        return batches(self._data.train, own.shape[1], order=own.reshape(-1), augment=augment)

    def judged(self) -> Iterator[Batch]:
        """This process's part of the samples that every epoch is judged on."""
        data = self._data.judges
        rows = evenly_spaced(len(data), self._data.judged(self._judged).samples)
        # Every so-many-th sample, so that processes judge parts of like size and mix.
        return batches(data, self._batch_size, order=rows[self._processes.rank :: self._processes.size])

    def identity(self) -> dict[str, object]:
        """What stands for the data in a checkpoint: how many samples, and the bits of a few."""
        found: dict[str, object] = {}
        for name, data in (("train", self._data.train), ("valid", self._data.valid)):
            if data is not None:
                found[name] = f"{len(data)} samples {_digest(data)}"
        return found


def evenly_spaced(count: int, wanted: int) -> Indices:
    """At most ``wanted`` of ``count`` samples, evenly over all of them: data may be sorted by class."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64))


def _digest(data: Dataset) -> str:
    batch = data.take(evenly_spaced(len(data), 5))
    found = hashlib.sha256()
    # A key that hardly any graph has as the name of an input.
    arrays = {**batch.inputs, **({} if batch.labels is None else {"labels of the data": batch.labels})}
    for name, array in sorted(arrays.items()):
        found.update(f"{name}:{array.dtype}:{array.shape};".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]
