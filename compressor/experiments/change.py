"""How far a changed model is from its original, on samples that are prepared once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.config import DataSettings
from compressor.config.data import validation
from compressor.core.arrays import Array, Floats, load_array, plain, save_array
from compressor.data import Batch, Dataset, batches, open_data, subset
from compressor.data.output_forms import are_targets
from compressor.data.output_units import OutputUnits, farthest
from compressor.data.spec import too_few
from compressor.evaluate.stand_in import stand_in
from compressor.experiments.limits import Limits
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.metrics.evaluator import EVAL_OPTION, Evaluator
from compressor.metrics.loaded_model import LoadedModel, named
from compressor.metrics.metric import Metric
from compressor.results.sensitivity import OutputChange
from compressor.runtime import sessions

ONE_THREAD = sessions.Setup(threads=1)
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
        accuracy: the metric of the original; None where it cannot be measured, such as without labels.
        digest: hash of the samples, and of the metric where one was asked for.
        evaluator: the metric.
        labelled: samples have labels.
    """

    folder: Path
    provider: str
    outputs: int
    inputs: tuple[str, ...]
    batches: int
    samples: int
    accuracy: float | None
    digest: str
    evaluator: Evaluator = field(default_factory=Evaluator)
    labelled: bool = False

    def baseless(self, samples: Dataset) -> list[str]:
        """A sentence where the labels of these samples tell nothing of the original."""
        return [] if self.accuracy is None else self.evaluator.baseless(self.accuracy, self.samples, samples)

    @staticmethod
    def make(
        model: ir.Model, dataset: Dataset, settings: DataSettings, folder: Path, limits: Limits | None = None
    ) -> ReferenceOutputs:
        """Runs ``model`` on at most ``settings.samples`` samples of ``dataset``, drawn at random.

        Raises:
            UsageError: there are fewer samples than the model takes at a time, labels do not fit the first output, or
                every loss of the model's metric is beyond ``limits``.
            ModelError: the model does not run on them.
            ProviderUnavailable: the provider asked for is not there.
        """
        fixed = batch_limit(model)
        chosen = subset(dataset, max(settings.samples, fixed or 0), settings.seed)
        evaluator = replace(Evaluator.of(settings), threads=1)
        if settings.eval is not None:
            evaluator.demand(chosen, EVAL_OPTION)
        digest, tally, number, count = hashlib.sha256(), _Tally.of(evaluator, chosen), 0, 0
        with sessions.placed(model) as path:
            # The original with the same setup as the changes, so that threads do not make the difference.
            session = sessions.start_session(path, settings.provider, ONE_THREAD)
            for batch in batches(chosen, fixed or settings.batch_size, drop_last=fixed is not None):
                names = sorted(batch.inputs)
                outputs = sessions.run_session(session, batch.inputs)
                tally.add(outputs, named(session, outputs), batch)
                for array in _kept(folder, number, batch, outputs):
                    # Shape and type too: other arrays may have the same bytes.
                    digest.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
                number, count = number + 1, count + len(batch)
            if not count:
                raise too_few(fixed, dataset)
            # A ledger must not hand out numbers of another metric.
            if settings.eval is not None:
                digest.update(evaluator.identity.encode())
            reference = ReferenceOutputs(
                folder=folder,
                provider=settings.provider,
                outputs=len(outputs),
                inputs=tuple(names),
                batches=number,
                samples=count,
                accuracy=None,
                digest=digest.hexdigest(),
                evaluator=evaluator,
                labelled=batch.labels is not None,
            )
            own = evaluator.asked(LoadedModel(path, session, reference.read)) if evaluator.own else None
        accuracy = tally.change(own).accuracy
        if limits is not None and accuracy is not None:
            evaluator.check_base(limits.max_drop, accuracy)
        return replace(reference, accuracy=accuracy)

    def change(self, model: ir.Model) -> OutputChange:
        """How far the outputs of ``model`` are from the original's, and the metric of it.

        Raises:
            ModelError: the model does not run.
            UsageError: a metric of the user's raises, or gives no finite number.
        """
        # Where the original could not be judged, changes are not either.
        tally = _Tally(None if self.accuracy is None or self.evaluator.own else self.evaluator.start())
        with sessions.placed(model) as path:
            session = sessions.start_session(path, self.provider, ONE_THREAD)
            for number, batch in enumerate(self.read()):
                before = [self._load(number, "out", index) for index in range(self.outputs)]
                tally.add(before, named(session, sessions.run_session(session, batch.inputs)), batch)
            own = None
            if self.evaluator.own:
                own = self.evaluator.asked(LoadedModel(path, session, self.read))
        return tally.change(own)

    def read(self) -> Iterator[Batch]:
        """The samples, in batches."""
        for number in range(self.batches):
            arrays = [self._load(number, "in", index) for index in range(len(self.inputs))]
            labels = self._load(number, "label", 0) if self.labelled else None
            yield Batch(dict(zip(self.inputs, arrays, strict=True)), labels)

    def _load(self, number: int, kind: str, index: int) -> Array:
        return load_array(self.folder / f"{number}-{kind}-{index}.npy")


def open_samples(model: ir.Model, settings: DataSettings) -> Dataset:
    """The user's samples, those to judge on where these are all, or as many made-up ones as ``settings`` ask for."""
    if settings.data is not None:
        return open_data(settings, model)
    if (judged := judging_samples(model, settings)) is not None:
        return judged
    count = max(settings.samples, batch_limit(model) or 0)
    return stand_in(normalise(model.clone()), settings, count)


def judging_samples(model: ir.Model, settings: DataSettings) -> Dataset | None:
    """The user's samples to judge on; None where none are named."""
    told = validation(settings)
    return None if told is None else open_data(told, model)


def _kept(folder: Path, number: int, batch: Batch, outputs: list[Array]) -> Iterator[Array]:
    """Writes what is known of one batch; gives what tells samples apart."""
    given = [batch.inputs[name] for name in sorted(batch.inputs)]
    labels = [] if batch.labels is None else [batch.labels]
    for kind, arrays in {"in": given, "out": outputs, "label": labels}.items():
        for index, array in enumerate(arrays):
            save_array(folder / f"{number}-{kind}-{index}.npy", array)
    # Outputs follow from these and from the model, whose hash is in the key by itself.
    yield from (plain(array) for array in (*given, *labels))


@dataclass
class _Tally:
    """Sums over batches, by output; ``metric`` is a built-in one where one can be measured."""

    metric: Metric | None
    units: dict[int, OutputUnits] = field(default_factory=dict)
    moved: dict[int, Floats] = field(default_factory=dict)
    agree: int = 0
    rows: int = 0

    @staticmethod
    def of(evaluator: Evaluator, data: Dataset) -> _Tally:
        """With a built-in metric, if that is what can be measured."""
        return _Tally(evaluator.start() if not evaluator.own and evaluator.measures(data) else None)

    def add(self, before: list[Array], after: Mapping[str, Array], batch: Batch) -> None:
        for index, (one, two) in enumerate(zip(before, after.values(), strict=True)):
            # Sums over batches, since a mean of the batches' ratios would depend on how samples were split.
            self.units.setdefault(index, OutputUnits.of(one))
            self.moved[index] = self.moved.get(index, np.zeros(2)) + self.units[index].squares(one, two)
            numbers = are_targets(batch.labels, one) or (self.metric is not None and self.metric.against_original)
            if not numbers and _scores_classes(one) and one.shape == two.shape:
                self.agree += int((one.argmax(axis=1) == two.argmax(axis=1)).sum())
                self.rows += len(one)
        if self.metric is not None:
            self.metric.add(after, batch, dict(zip(after, before, strict=True)))

    def change(self, own: float | None) -> OutputChange:
        """What the sums come to; ``own`` is what a metric of the user's gave."""
        return OutputChange(
            # One number for all outputs is that of the worst.
            distance=max(map(farthest, self.moved.values()), default=0.0),
            agreement=self.agree / self.rows if self.rows else None,
            accuracy=self.metric.value() if self.metric is not None else own,
        )


def _scores_classes(array: Array) -> bool:
    return array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] > 1
