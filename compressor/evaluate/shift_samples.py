"""The samples that models are compared on where inputs shift: drawn from the user's, or made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compressor.config.robustness import RobustnessSettings
from compressor.data import Batch, Dataset, all_labels, batches, check_labels, open_data, subset
from compressor.errors import UsageError
from compressor.evaluate.pair import Opened
from compressor.evaluate.stand_in import stand_in
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.results.robustness import LeftOut


@dataclass(frozen=True)
class RobustnessSamples:
    """What all models are run on.

    Attributes:
        dataset: the samples drawn, and no others.
        size: samples in a run.
        fixed: the models take no other number.
        source: where they come from, in words.
        labels: shape of the labels of one sample, where they are classes.
        left_out: what cannot be measured on them.
        available: samples that they were drawn from; None where they are made up.
    """

    dataset: Dataset
    size: int
    fixed: bool
    source: str
    labels: tuple[int, ...] | None
    left_out: tuple[LeftOut, ...] = ()
    available: int | None = None

    def __len__(self) -> int:
        """Samples that fill runs."""
        return len(self.dataset) // self.size * self.size if self.fixed else len(self.dataset)

    def batches(self) -> Iterator[Batch]:
        """In the same order each time."""
        return batches(self.dataset, self.size, drop_last=self.fixed)


def robustness_samples(models: Sequence[Opened], settings: RobustnessSettings) -> RobustnessSamples:
    """The samples drawn from the data, or made up; whole batches where a model fixes their size.

    Raises:
        UsageError: the data does not fit the models, or they take different numbers of samples at a time.
    """
    # One model with a fixed batch decides for all, as they see the same inputs.
    limits = {limit: m for m in models if (limit := batch_limit(m.model)) is not None}
    if len(limits) > 1:
        (one, first), (two, second) = list(limits.items())[:2]
        raise UsageError(f"{first.path} takes {one} samples at a time and {second.path} takes {two}; export both alike")
    limit, narrow = next(iter(limits.items()), (None, models[0]))
    if settings.data is None:
        dataset: Dataset = stand_in(narrow.model, settings, settings.samples)
        missing = [LeftOut(what="accuracy", reason="it needs --data with labels")]
        if settings.kinds:
            reason = "they need --data; made-up inputs are no pictures"
            missing.append(LeftOut(what="corruptions of images", reason=reason))
        source, labels, available = "random inputs", None, None
    else:
        # Data that is normalised already must not be normalised again; mean and std then only say what black is.
        plain = settings.model_copy(update={"mean": (), "std": ()}) if settings.normalised else settings
        whole = open_data(plain, narrow.model)
        dataset = subset(whole, settings.samples, settings.seed)
        labels, why = _class_labels(dataset, models[0])
        available = len(whole)
        source, missing = settings.data, [LeftOut(what="accuracy", reason=why)] if why else []
    if limit and len(dataset) < limit:
        raise UsageError(f"the model takes {limit} samples at a time, there are {len(dataset)}; give more samples")
    size = limit or settings.batch_size
    return RobustnessSamples(dataset, size, limit is not None, source, labels, tuple(missing), available)


def _class_labels(dataset: Dataset, model: Opened) -> tuple[tuple[int, ...] | None, str]:
    """Shape of one sample's labels where they are classes, else why there is none; UsageError where they are not those
    of the model."""
    labels = all_labels(dataset)
    if labels is None:
        return None, "the data has no labels"
    if labels.dtype.kind not in "biu":
        return None, f"labels are {labels.dtype}, not numbers of classes"
    check_labels(dataset, model.model)
    return labels.shape[1:], ""
