"""Judges models by the metric that was asked for, a built-in one or a function of the user's."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.config import DataSettings
from compressor.config.choices import METRICS
from compressor.config.data import BATCH_SIZE
from compressor.config.proof import PROVIDER
from compressor.core.arrays import Array
from compressor.core.default_metric import DEFAULT_METRIC
from compressor.core.formatting import metric_value
from compressor.core.intervals import wilson
from compressor.core.notation import Percent
from compressor.core.user_code import importable, imported, user_errors
from compressor.data.batch import Dataset
from compressor.data.class_names import folder_classes
from compressor.data.labels import all_labels
from compressor.data.order import batches
from compressor.data.spec import too_few
from compressor.errors import UsageError
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.metrics.loaded_model import LoadedModel, loaded, named
from compressor.metrics.metric import Metric
from compressor.results.detail import AccuracyRow

EVAL_OPTION = "--eval"
BOX_LABELS, BOX_NUMBERS = 3, 5
"""Axes of labels that are boxes, and numbers of a box."""
LABELS_SEEN = 64
"""Samples by whose labels it is told what they are."""


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric of one model.

    Attributes:
        value: finite.
        samples: how many it was measured on; None where a function of the user's has its own.
    """

    value: float
    samples: int | None


@dataclass(frozen=True)
class Evaluator:
    """A metric by its name.

    Attributes:
        text: of a built-in metric, or ``package.module:function``.
        provider: where models run.
        batch_size: samples that run at a time.
        threads: of a model; one where others run beside it on all cores, None where the runtime may choose.
    """

    text: str = DEFAULT_METRIC
    provider: str = PROVIDER
    batch_size: int = BATCH_SIZE
    threads: int | None = None

    @staticmethod
    def of(settings: DataSettings) -> Evaluator:
        """The metric of settings.

        Raises:
            UsageError: a function that they name cannot be imported.
        """
        found = Evaluator(settings.eval or DEFAULT_METRIC, settings.provider, settings.batch_size)
        found.check()
        return found

    def check(self) -> None:
        """Raises UsageError where there is no such metric."""
        if self.own:
            self._function  # noqa: B018 - imports it
        else:
            METRICS.find(self.text)

    @property
    def own(self) -> bool:
        """Is it a function of the user's?"""
        return ":" in self.text

    @property
    def name(self) -> str:
        """What reports call it: of a function, what its attribute ``name`` says, else the name of the function."""
        return str(getattr(self._function, "name", self.text.rpartition(":")[2])) if self.own else self.text

    @property
    def higher_is_better(self) -> bool:
        """The direction; a function whose lower values are better says so by an attribute of that name."""
        return bool(getattr(self._function if self.own else self._kind, "higher_is_better", True))

    @property
    def share(self) -> bool:
        """Are values shares, which are shown as per cent?"""
        return not self.own and self._kind.share

    @property
    def needs_labels(self) -> bool:
        """Can nothing be measured on samples without labels?"""
        return not self.own and self._kind.needs_labels

    @property
    def against_original(self) -> bool:
        """Is the original's output what is right, where labels do not say?"""
        return not self.own and self._kind.against_original

    @property
    def identity(self) -> str:
        """Tells metrics apart for whoever remembers values: the name, and of a function the bytes of its module."""
        if not self.own:
            # The function may have changed between two runs under the same name.
            return self.text
        try:
            source = inspect.getsourcefile(inspect.unwrap(self._function))
            return f"{self.text} {hashlib.sha256(Path(str(source)).read_bytes()).hexdigest()}"
        except (OSError, TypeError):  # compiled, or an object
            return self.text

    def measures(self, data: Dataset | None) -> bool:
        """Can it be measured on such data? A function of the user's needs none."""
        if self.own:
            return True
        if data is None or not len(data) or (self.needs_labels and not data.labelled):
            return False
        # Labels of values or boxes are no classes; only a metric that was named can be meant for them.
        return self.text != DEFAULT_METRIC or _kind_of_labels(data) in "biu"

    def check_limit(self, limit: float | None, data: Dataset | None = None) -> None:
        """Refuses a limit on what may be lost that no loss of a share exceeds, or that every loss does.

        Raises:
            UsageError: with what to give.
        """
        # A share cannot fall by more than one.
        if limit is not None and limit > 1 and (self.share or self.relative):
            raise UsageError(
                f"--max-drop must be at most 1 for {self.name}, not {limit:g}; write a share such as 0.01 or 1%"
            )
        # Held against itself the original is not off at all.
        itself = data is not None and self.against_original and not (data.labelled and _kind_of_labels(data) == "f")
        if isinstance(limit, Percent) and itself and not self.share:
            raise UsageError(
                f"--max-drop {metric_value(limit, share=True)} of {self.name} is a share of the original's, which is 0 "
                "without labels that are real numbers; give such labels, or --max-drop as a number in the unit of the "
                "output"
            )

    def check_base(self, limit: float | None, value: float) -> None:
        """Refuses a limit that is a share of the original's ``value`` where that is 0, so that any loss is beyond it.

        Raises:
            UsageError: with what to give.
        """
        if limit is not None and value == 0 and (self.relative or (isinstance(limit, Percent) and not self.share)):
            raise UsageError(
                f"--max-drop {metric_value(limit, share=True)} of {self.name} is a share of the original's, which is 0 "
                "on these samples; give --max-drop as a number in the unit of the metric, such as 0.1"
            )

    def demand(self, data: Dataset | None, purpose: str, source: DataSettings | None = None) -> None:
        """Refuses data on which the metric cannot be measured.

        Args:
            data: samples to judge on.
            purpose: the flag that wants it measured, for messages.
            source: where the samples come from.

        Raises:
            UsageError: with what is missing, or what labels have to be.
        """
        if self.measures(data):
            labels = None if self.own or data is None or not data.labelled else _first_label(data)
            if labels is not None:
                self._kind.check_labels(labels)
            return
        name = f"{purpose} {self.text}" if purpose == EVAL_OPTION else purpose
        # Given data of which all is learnt from lacks no labels.
        if source is not None and source.data is not None and (data is None or not len(data)):
            more = "leave --val-share 0 out" if source.val_share == 0 else "give more than one batch of them"
            raise UsageError(f"{name} needs samples set aside, and of --data none are; {more}, or give --val-data")
        if data is not None and data.labelled and self.text == DEFAULT_METRIC:
            raise UsageError(
                f"{purpose}: labels of the data are no numbers of classes, which accuracy needs; {_other_metric(data)}"
            )
        need = "samples with labels" if self.needs_labels else "samples"
        whose = "" if self.text == DEFAULT_METRIC or purpose == EVAL_OPTION else f" for {EVAL_OPTION} {self.text}"
        array = " with an array y" if self.needs_labels else ""
        raise UsageError(f"{name} needs {need}{whose}; give --data or --val-data{array}")

    def measure(self, model: ir.Model, data: Dataset | None, original: ir.Model | None = None) -> MeasuredMetric:
        """The metric of a model.

        Args:
            model: not changed.
            data: samples; of a model that takes a fixed number at a time, what is left over is left out.
            original: what the model was made from, where :attr:`against_original` asks for it.

        Raises:
            UsageError: labels, outputs or data do not fit the metric; or a function of the user's raises, or gives
                something else than a finite number.
            ModelError: the model does not run on the data.
            ProviderUnavailable: the provider asked for is not there.
        """
        if self.own:
            with loaded(model, self.provider, data, self.batch_size, self.threads) as found:
                return MeasuredMetric(self.asked(found), None if data is None else len(data))
        # ``measures`` was asked before.
        assert data is not None
        return self._over(model, data, original)

    def asked(self, model: LoadedModel) -> float:
        """What the user's function says of a model.

        Raises:
            UsageError: it raises, or gives something else than a finite number.
        """
        # What it prints goes to stderr, because stdout is for results.
        with importable(), user_errors(self.text, EVAL_OPTION), redirect_stdout(sys.stderr):
            given = self._function(model)
        return _number(given, self.text)

    def start(self) -> Metric:
        """A new object of a built-in metric, for whoever feeds it batches."""
        assert not self.own
        return self._kind()

    @property
    def relative(self) -> bool:
        """Is what is lost counted as a share of the original's value, as of a perplexity, which has no scale?"""
        return not self.own and self._kind.relative_drop

    def lost(self, before: float, after: float) -> float:
        """How much worse ``after`` is: a difference, or a share of ``before``; below 0 where it is better."""
        return self.row(before, after).lost

    def row(self, before: float, after: float, samples: int | None = None, data: Dataset | None = None) -> AccuracyRow:
        """The metric of an original and what was made of it, as reports have it; ``data`` is what it is of."""
        counted = bool(samples) and not self.own and self._kind.counted
        low, high = wilson(after * samples, samples) if counted and samples else (None, None)
        return AccuracyRow(
            metric=self.name,
            before=before,
            after=after,
            low=low,
            high=high,
            samples=samples,
            share=self.share,
            higher_is_better=self.higher_is_better,
            relative=self.relative,
            frequent=self._frequent(data),
            classes=folder_classes(data),
        )

    def baseless(self, value: float, samples: int | None, data: Dataset | None, who: str = "the original") -> list[str]:
        """A sentence where ``value``, measured on these samples, is no better than one label for all of them."""
        return [text for text in [self.row(value, value, samples, data).baseless_of(who)] if text]

    def _frequent(self, data: Dataset | None) -> float | None:
        """The share of the most frequent label; None where the metric counts no single ones."""
        return None if data is None or self.text != DEFAULT_METRIC else _most_frequent(data)

    def _over(self, model: ir.Model, data: Dataset, original: ir.Model | None) -> MeasuredMetric:
        from compressor.runtime import sessions  # noqa: PLC0415 - slow to import, and many runs judge nothing

        limit, metric, count = batch_limit(model), self.start(), 0
        setup = sessions.Setup(threads=self.threads)
        with ExitStack() as stack:
            session = stack.enter_context(sessions.opened(model, self.provider, setup))
            other = None
            if self.against_original and original is not None:
                other = stack.enter_context(sessions.opened(original, self.provider, setup))
            # A fixed batch takes no part of one; it would have to be filled up with samples that count twice.
            for batch in batches(data, limit or self.batch_size, drop_last=limit is not None):
                found = named(session, sessions.run_session(session, batch.inputs))
                wanted = None if other is None else named(other, sessions.run_session(other, batch.inputs))
                metric.add(found, batch, wanted)
                count += len(batch)
        if not count:
            raise too_few(limit, data)
        return MeasuredMetric(metric.value(), count)

    @cached_property
    def _function(self) -> Callable[..., Any]:
        return imported(self.text, EVAL_OPTION)

    @property
    def _kind(self) -> type[Metric]:
        found: type[Metric] = METRICS.find(self.text)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Without the function, which every process imports itself."""
        # Functions of the user's may not be picklable.
        return {name: value for name, value in self.__dict__.items() if name != "_function"}


def evaluator_for(settings: DataSettings, data: Dataset | None, gate: float | None = None) -> Evaluator | None:
    """The metric of settings, where it can be measured; None where it cannot, and nobody asked for it.

    Args:
        settings: ``eval`` names it.
        data: samples to judge on.
        gate: limit on what may be lost; it cannot be kept without the metric.

    Raises:
        UsageError: somebody asked, and data or labels are missing; or a function that is named cannot be imported.
    """
    found = Evaluator.of(settings)
    purposes = [name for name, asked in (("--max-drop", gate), (EVAL_OPTION, settings.eval)) if asked is not None]
    if gate is not None:
        found.check_limit(gate, data)
    for purpose in purposes:
        found.demand(data, purpose, settings)
    return found if found.measures(data) else None


def demand_metric(settings: DataSettings, data: Dataset | None, gate: float | None = None) -> None:
    """Refuses a metric that was asked for and cannot be measured; arguments and errors as :func:`evaluator_for`."""
    evaluator_for(settings, data, gate)


def labels_unread(data: Dataset | None, evaluator: Evaluator | None) -> list[str]:
    """A sentence where labels were given that no metric is measured by, as they are no numbers of classes."""
    if data is None or evaluator is not None or not len(data) or not data.labelled:
        return []
    labels = data.take(np.zeros(1, np.int64)).labels
    form = "" if labels is None else f"{labels.dtype}, {list(labels.shape[1:]) or 'one number'} a sample"
    return [
        f"accuracy was not measured, as labels are {form}, and not the number of a class, a whole one for each sample; "
        f"give such, or {_other_metric(data)}"
    ]


def _other_metric(data: Dataset) -> str:
    """What to do with labels that are no classes: by their form they are boxes, classes stored as real numbers, or what
    a regression should give."""
    labels = _first_label(data)
    if labels is None or labels.dtype.kind != "f":
        return f"name a metric for what they are with {EVAL_OPTION}"
    if labels.ndim == BOX_LABELS and labels.shape[2] == BOX_NUMBERS:
        return f"name a metric, such as {EVAL_OPTION} map for the boxes that they look like"
    many = data.take(np.arange(min(len(data), LABELS_SEEN))).labels
    if many is not None and np.array_equal(many, np.round(many)):
        return f"store classes as whole numbers (y.astype('int64')), or name a metric, such as {EVAL_OPTION} rmse"
    return f"name a metric, such as {EVAL_OPTION} rmse for the real numbers that they are"


def _first_label(data: Dataset) -> Array | None:
    """Labels of the first sample, with an axis of one sample; None where there are none."""
    return data.take(np.zeros(1, np.int64)).labels


def _kind_of_labels(data: Dataset) -> str:
    """numpy's letter for the kind of numbers that labels are."""
    labels = _first_label(data)
    return "" if labels is None else labels.dtype.kind


def _most_frequent(data: Dataset) -> float | None:
    """The share of the label that most samples have; None where labels are not one number of a class for each."""
    labels = all_labels(data)
    if labels is None or labels.ndim != 1 or not len(labels):
        return None
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def _number(given: object, text: str) -> float:
    """One finite number, whatever type it comes in."""
    value: Any = given
    for step in ("detach", "cpu"):  # tensors of torch come off their graph and device first
        value = getattr(value, step)() if hasattr(value, step) else value
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "biuf":
        told = f"an array of shape {list(array.shape)}" if array.ndim else type(given).__name__
        raise UsageError(f"{EVAL_OPTION} {text} returned {told} instead of a number; return float(...)")
    found = float(array)
    if not isfinite(found):
        raise UsageError(
            f"{EVAL_OPTION} {text} returned {found}, by which nothing can be judged; return a finite number"
        )
    return found
