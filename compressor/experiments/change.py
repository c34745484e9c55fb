"""How far a changed model is from its original, on samples that are prepared once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.config import DataSettings
from compressor.core.compare import relative, squares
from compressor.data import Array, Batch, Dataset, batch_limit, batches, open_data, subset
from compressor.errors import UsageError
from compressor.evaluate.accuracy import right
from compressor.evaluate.stand_in import stand_in
from compressor.graph.normalise import normalise
from compressor.results.sensitivity import Change
from compressor.runtime import sessions

ALONE = sessions.Setup(threads=1)
"""One thread, so that as many run side by side as there are cores."""


@dataclass(frozen=True)
class ReferenceOutputs:
    """Samples and what the original makes of them, as arrays in a folder that several processes read.

    Attributes:
        folder: holds the arrays; the caller removes it.
        provider: where models run, on one thread each.
        outputs: how many the model has.
        inputs: their names.
        batches: how many batches there are.
        samples: in all of them.
        accuracy: top-1 of the original; None without labels.
        digest: hash of the samples.
    """

    folder: Path
    provider: str
    outputs: int
    inputs: tuple[str, ...]
    batches: int
    samples: int
    accuracy: float | None
    digest: str

    @staticmethod
    def make(model: ir.Model, dataset: Dataset, settings: DataSettings, folder: Path) -> ReferenceOutputs:
        """Runs ``model`` on at most ``settings.samples`` samples of ``dataset``, drawn at random.

        Raises:
            UsageError: there are fewer samples than the model takes at a time, or labels do not fit the first output.
            ModelError: the model does not run on them.
            ProviderUnavailable: the provider asked for is not there.
        """
        fixed = batch_limit(model)
        chosen = subset(dataset, max(settings.samples, fixed or 0), settings.seed)
        digest, tally, count, names = hashlib.sha256(), _Tally(), 0, list[str]()
        with sessions.opened(model, settings.provider, ALONE) as session:
            number = 0
            for batch in batches(chosen, fixed or settings.batch_size, drop_last=fixed is not None):
                names = sorted(batch.inputs)
                found = sessions.run_session(session, batch.inputs)
                tally.add(found, found, batch)
                parts = {"in": [batch.inputs[name] for name in names], "out": found, "label": _labels(batch)}
                for kind in ("in", "label"):
                    for array in parts[kind]:
                        digest.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
                for kind, arrays in parts.items():
                    for index, array in enumerate(arrays):
                        np.save(folder / f"{number}-{kind}-{index}.npy", array, allow_pickle=False)
                number, count = number + 1, count + len(batch)
        if not count:
            raise UsageError(f"the model takes batches of {fixed}, the data has {len(dataset)} samples; give more")
        accuracy = tally.change().accuracy
        return ReferenceOutputs(
            folder, settings.provider, len(found), tuple(names), number, count, accuracy, digest.hexdigest()
        )

    def change(self, model: ir.Model) -> Change:
        """How far the outputs of ``model`` are from the original's.

        Raises:
            ModelError: the model does not run.
        """
        tally = _Tally()
        with sessions.opened(model, self.provider, ALONE) as session:
            for number in range(self.batches):
                arrays = [self._load(number, "in", index) for index in range(len(self.inputs))]
                labels = None if self.accuracy is None else self._load(number, "label", 0)
                batch = Batch(dict(zip(self.inputs, arrays, strict=True)), labels)
                before = [self._load(number, "out", index) for index in range(self.outputs)]
                tally.add(before, sessions.run_session(session, batch.inputs), batch)
        return tally.change()

    def _load(self, number: int, kind: str, index: int) -> Array:
        found: Array = np.load(self.folder / f"{number}-{kind}-{index}.npy", allow_pickle=False)
        return found


def open_samples(model: ir.Model, settings: DataSettings) -> Dataset:
    """The user's samples, or as many made-up ones as ``settings`` ask for."""
    if settings.data is not None:
        return open_data(settings, model)
    count = max(settings.samples, batch_limit(model) or 0)
    return stand_in(normalise(model.clone()), settings, count)


def _labels(batch: Batch) -> list[Array]:
    return [] if batch.labels is None else [batch.labels]


@dataclass
class _Tally:
    """Sums over batches, from which means over all samples are made."""

    moved: dict[int, float] = field(default_factory=dict)
    whole: dict[int, float] = field(default_factory=dict)
    agree: int = 0
    rows: int = 0
    correct: int = 0
    judged: int = 0

    def add(self, before: list[Array], after: list[Array], batch: Batch) -> None:
        for index, (one, two) in enumerate(zip(before, after, strict=True)):
            moved, whole = squares(one, two)
            self.moved[index] = self.moved.get(index, 0.0) + moved
            self.whole[index] = self.whole.get(index, 0.0) + whole
            if _scores_classes(one) and one.shape == two.shape:
                self.agree += int((one.argmax(axis=1) == two.argmax(axis=1)).sum())
                self.rows += len(one)
        if batch.labels is not None:
            hits, counted = right(after[0], batch)
            self.correct += int(hits[counted].sum())
            self.judged += int(counted.sum())

    def change(self) -> Change:
        return Change(
            distance=max((relative(moved, self.whole[index]) for index, moved in self.moved.items()), default=0.0),
            agreement=self.agree / self.rows if self.rows else None,
            accuracy=self.correct / self.judged if self.judged else None,
        )


def _scores_classes(array: Array) -> bool:
    return array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] > 1
