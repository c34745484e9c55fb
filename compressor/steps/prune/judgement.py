"""A result held against the original: by a metric, by how far outputs moved, and by how well gradients pass."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.errors import ModelError
from compressor.graph.ir.randomness import may_draw
from compressor.metrics.evaluator import Evaluator, MeasuredMetric, evaluator_for, labels_unread
from compressor.results.detail import AccuracyRow, OutputsRow, TrainabilityRow
from compressor.steps.prune.trainability import trainability_row
from compressor.steps.run_samples import NOT_COMPARED, RunSamples

ALL_DRAWN = "how far outputs moved was not measured: none of them is a number that is not drawn at random"


@dataclass(frozen=True)
class Verdict:
    """What is said of a result beside its original.

    Attributes:
        accuracy: of the original, of what was cut, and of the result; empty where it is not measured.
        outputs: how far they moved; None where that is not measured.
        trainability: how well gradients pass; None where nobody asked.
        warnings: what the report has to say besides.
    """

    accuracy: tuple[AccuracyRow, ...]
    outputs: OutputsRow | None
    trainability: TrainabilityRow | None
    warnings: tuple[str, ...]


class ResultJudge:
    """Holds what is made of a model against that model.

    The metric of the original is measured at once, so that labels or a metric that do not fit are said before any work.

    Args:
        source: the original.
        settings: of the run.
        samples: of the run; None where nothing is read.
        clock: times what is measured.

    Raises:
        UsageError: the metric cannot be measured, and somebody asked for it.
    """

    def __init__(self, source: ir.Model, settings: PruneSettings, samples: RunSamples | None, clock: Clock) -> None:
        self._source, self._settings, self._samples, self._clock = source, settings, samples, clock
        self._data = None if samples is None else samples.valid
        self._evaluator = evaluator_for(settings, self._data, settings.max_drop)
        self._original = None if self._evaluator is None else self._measured(self._evaluator, source)
        if self._evaluator is not None and self._original is not None:
            self._evaluator.check_base(settings.max_drop, self._original.value)

    def of(self, result: ir.Model, cut: ir.Model | None) -> Verdict:
        """What is said of a result.

        Args:
            result: of the run.
            cut: the model straight after the cut; None where that is not told of.

        Raises:
            CompressorError: a model does not run on the samples of the user's.
        """
        unread = labels_unread(self._data, self._evaluator)
        accuracy: list[AccuracyRow] = []
        if self._evaluator is not None and self._original is not None:
            accuracy.append(self._accuracy(self._evaluator, self._original, result, cut))
        if self._samples is None:
            return Verdict(tuple(accuracy), None, None, tuple(unread))
        with self._clock.phase("compare"):
            outputs, notes = self._outputs(self._samples, result, cut)
        trainable = None
        if self._settings.trainability:
            with self._clock.phase("trainability"):
                trainable = trainability_row(self._source, result, self._samples.train)
        return Verdict(tuple(accuracy), outputs, trainable, (*unread, *notes))

    def _accuracy(
        self, evaluator: Evaluator, original: MeasuredMetric, result: ir.Model, cut: ir.Model | None
    ) -> AccuracyRow:
        pruned = self._measured(evaluator, cut).value if cut is not None else None
        after = self._measured(evaluator, result).value
        return evaluator.row(original.value, after, original.samples, self._data).model_copy(update={"pruned": pruned})

    def _measured(self, evaluator: Evaluator, model: ir.Model) -> MeasuredMetric:
        with self._clock.phase("judge"):
            return evaluator.measure(model, self._data, self._source)

    def _outputs(
        self, samples: RunSamples, result: ir.Model, cut: ir.Model | None
    ) -> tuple[OutputsRow | None, list[str]]:
        """How far outputs moved, on samples that recovery did not see where there are such; and notes of it."""
        models = [result] if cut is None else [cut, result]
        try:
            row = samples.outputs_row(self._source, models, self._settings)
        except ModelError as error:
            # Samples of the user's that the model does not take are a mistake, and not to be passed over.
            if samples.real or samples.valid is not None:
                raise
            return None, [NOT_COMPARED.format(reason=str(error).partition(";")[0])]
        return row, [ALL_DRAWN] if row is None and may_draw(self._source) else []
