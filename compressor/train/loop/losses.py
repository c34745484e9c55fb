"""Losses: distance to the original model, cross-entropy with labels, both, or one of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that torch's own pages use

from compressor.config import TuneSettings
from compressor.config.training import NEEDS_TEACHER, LossSection
from compressor.core.user_code import imported
from compressor.data.labels import IGNORED
from compressor.data.output_forms import OutputForm, class_axis, decide
from compressor.data.output_units import variance
from compressor.errors import UsageError
from compressor.metrics.metric import AGREEMENT
from compressor.torch_ops.tensors import log_clamped, to_numpy
from compressor.train.loop.objective import DeviceBatch, LossTerm, Objective
from compressor.train.module.pieces import ModuleOutputs

Tensor = torch.Tensor
ACCURACY = "accuracy"
"""Name of the metric that is read off outputs and labels while training lasts; without labels it is AGREEMENT."""


@dataclass(frozen=True)
class SoftDivergence:
    """Of softened classes: ``T² KL(teacher || module)`` with both scores divided by the temperature T.

    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2; the factor T²
    keeps gradients the same size at every temperature.
    """

    form: OutputForm
    temperature: float

    def __call__(self, outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> Tensor:  # noqa: ARG002
        """Mean over samples, and over positions that have classes of their own."""
        student = log_probabilities(outputs[self.form.index], self.form, self.temperature)
        teacher = log_probabilities(taught[self.form.index], self.form, self.temperature)
        rows = F.kl_div(student, teacher, log_target=True, reduction="none").sum(self.form.axis)
        return rows.mean() * self.temperature**2


def log_probabilities(values: Tensor, form: OutputForm, temperature: float = 1.0) -> Tensor:
    """Of each class, after scores are divided by the temperature."""
    scores = log_clamped(values) if form.probabilities else values
    # Softmax of logarithms gives the probabilities themselves at temperature one, and softened ones above.
    return torch.log_softmax(scores / temperature, form.axis)


@dataclass(frozen=True)
class Squared:
    """Mean squared difference, divided by the variance of the teacher's numbers.

    Attributes:
        index: number of the output.
        variance: of all its numbers.
        axis: along which ``scales`` are.
        scales: what squares are divided by at each position, where parts are in units of their own.
    """

    index: int
    variance: float
    axis: int = 1
    scales: tuple[float, ...] = ()

    @staticmethod
    def of(form: OutputForm) -> Squared:
        """For an output of numbers."""
        return Squared(form.index, form.variance, form.axis, form.scales)

    def __call__(self, outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> Tensor:  # noqa: ARG002
        """Mean over all entries."""
        found, wanted = outputs[self.index], taught[self.index]
        if not self.scales:
            # The unit of the output cancels, so that several outputs and features count alike.
            return F.mse_loss(found, wanted) / self.variance
        shape = [-1 if axis == self.axis else 1 for axis in range(found.dim())]
        return ((found - wanted).square() / found.new_tensor(self.scales).reshape(shape)).mean()


@dataclass(frozen=True)
class Similarity:
    """Distance between how alike two modules find the samples of a batch, whatever their widths.

    With the features of a batch as rows F, Q is F Fᵀ with rows of length one; the loss is ‖Q_t - Q_s‖² / b over a
    batch of b. Source: Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, equations 1 to 4; here
    divided by b, which is ‖Q_t‖², instead of b². With several processes it sees the samples of one.
    """

    index: int

    def __call__(self, outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> Tensor:
        """Zero for a batch of one."""
        found, wanted = _alike(outputs[self.index]), _alike(taught[self.index])
        return (found - wanted).square().sum() / len(batch)


def _alike(features: Tensor) -> Tensor:
    rows = features.flatten(1)
    return F.normalize(rows @ rows.T, dim=1)


@dataclass(frozen=True)
class CrossEntropy:
    """With labels: class numbers, or shares of classes in the shape of the output; -100 has no class."""

    form: OutputForm

    def __call__(self, outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> Tensor:  # noqa: ARG002
        """Mean over samples and positions."""
        assert batch.labels is not None
        scores = log_probabilities(outputs[self.form.index], self.form).movedim(self.form.axis, 1)
        labels = batch.labels
        if labels.is_floating_point():
            labels = labels.movedim(self.form.axis, 1).to(scores.dtype)
        # ``cross_entropy`` takes a softmax of its own, which leaves logarithms of probabilities as they are.
        return F.cross_entropy(scores, labels, ignore_index=IGNORED)


@dataclass(frozen=True)
class Own:
    """A loss of the user's: called with the outputs, the batch, and the teacher's outputs."""

    name: str
    function: Callable[..., Any]

    def __call__(self, outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> Tensor:
        """What it returns, which has to be one number that gradients flow from."""
        found = self.function(outputs, batch, taught)
        if not isinstance(found, torch.Tensor) or found.dim() or not found.is_floating_point():
            shape = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise UsageError(f"loss {self.name} returned {shape} instead of one number as a tensor; return a mean")
        return found


@dataclass(frozen=True)
class Agreement:
    """Share of positions where the class is the label, or without labels the teacher's."""

    form: OutputForm
    labelled: bool

    def __call__(self, outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> Tensor:
        """The share of all positions of a batch that count."""
        found = outputs[self.form.index].argmax(self.form.axis)
        wanted = batch.labels if self.labelled else taught[self.form.index].argmax(self.form.axis)
        assert wanted is not None
        if wanted.is_floating_point():
            wanted = wanted.argmax(self.form.axis)
        counted = wanted != IGNORED
        # A batch in which no position has a label would be zero over zero.
        return found.eq(wanted)[counted].double().mean() if bool(counted.any()) else counted.new_ones(()).double()


@dataclass(frozen=True)
class Explained:
    """One minus the squared difference over the variance, mean over outputs: R² against the teacher."""

    terms: Sequence[Squared]

    def __call__(self, outputs: ModuleOutputs, batch: DeviceBatch, taught: ModuleOutputs) -> Tensor:
        """The mean of R² over the outputs, on a batch."""
        return 1 - torch.stack([term(outputs, batch, taught) for term in self.terms]).mean()


@dataclass(frozen=True)
class OutputProbe:
    """What both modules give for some samples before training, from which the terms are made.

    Attributes:
        names: of the outputs; values that were asked for by name come after them.
        features: names of these values.
        student: what the module gives.
        teacher: what the original gives; empty without one.
        labels: of these samples.
        vocabularies: lengths of the tables that the model looks whole numbers up in.
    """

    names: tuple[str, ...]
    features: tuple[str, ...]
    student: ModuleOutputs
    teacher: ModuleOutputs
    labels: Tensor | None
    vocabularies: Collection[int] = ()


def objective_for(
    settings: TuneSettings, probe: OutputProbe, teacher: torch.nn.Module | None, chunk: int | None
) -> tuple[Objective, list[str]]:
    """The objective that the settings ask for, and in words what it compares how.

    Raises:
        UsageError: it needs labels or an original model that are not there, or labels fit no output.
    """
    count = len(probe.names)
    # The original decides how outputs are compared, where there is one: a pruned model may give anything.
    shown = probe.teacher or probe.student
    if probe.teacher:
        _same_shapes(probe)
    labels = None if probe.labels is None else to_numpy(probe.labels)
    values = [to_numpy(t) for t in shown[:count]]
    forms = decide(probe.names, values, labels, settings.output_form, probe.vocabularies)
    terms: list[tuple[float, LossTerm]] = []
    share = {"distill": 1.0, "mixed": settings.alpha}.get(settings.loss, 0.0)
    # Each output has the same weight, whatever its form.
    if share:
        terms += [(share * weight, term) for weight, term in _distilled(settings, forms, probe)]
    if probe.teacher:
        terms += _features(settings, probe)
    classes = _classes(forms, probe)
    if settings.loss in ("cross-entropy", "mixed"):
        terms.append((1 - share, CrossEntropy(_demanded(classes, probe))))
    elif settings.loss != "distill":
        terms.append((1.0, own_loss(settings.loss)))
    words = [str(form) for form in forms] if share else []
    metric = _metric(forms, classes, bool(probe.teacher))
    return Objective(terms, metric=metric, teacher=teacher, chunk=chunk), words


def _same_shapes(probe: OutputProbe) -> None:
    """Raises UsageError where an output of the two models differs in shape."""
    for name, one, two in zip(probe.names, probe.student, probe.teacher, strict=False):
        if one.shape != two.shape:
            raise UsageError(
                f"output {name!r} is {list(one.shape)} in the model and {list(two.shape)} in the original; "
                "give the model that this one was made from as --teacher"
            )


def _distilled(settings: LossSection, forms: Sequence[OutputForm], probe: OutputProbe) -> list[tuple[float, LossTerm]]:
    if not probe.teacher:
        raise UsageError(NEEDS_TEACHER)
    used = [form for form in forms if form.kind != "none"]
    if not used:
        raise UsageError("no output of the model has a gradient to be compared by; choose another --loss")
    made: list[LossTerm] = [
        SoftDivergence(form, settings.temperature) if form.kind == "kl" else Squared.of(form) for form in used
    ]
    return [(1 / len(made), term) for term in made]


def _features(settings: LossSection, probe: OutputProbe) -> list[tuple[float, LossTerm]]:
    terms: list[tuple[float, LossTerm]] = []
    for index in range(len(probe.names), len(probe.names) + len(probe.features)):
        one, two = probe.student[index], probe.teacher[index]
        # Pruning may have made the value narrower; then only relations between samples can be compared.
        term: LossTerm = Squared(index, variance(to_numpy(two))) if one.shape == two.shape else Similarity(index)
        terms.append((settings.feature_weight / len(probe.features), term))
    return terms


def _classes(forms: Sequence[OutputForm], probe: OutputProbe) -> OutputForm | None:
    """The first output whose classes the labels are."""
    labels = probe.labels
    if labels is None:
        return None
    for form in forms:
        scores = (probe.teacher or probe.student)[form.index]
        soft = labels.is_floating_point() and labels.shape == scores.shape
        if form.kind == "kl" and (soft or class_axis(to_numpy(scores), to_numpy(labels)) == form.axis):
            return form
    return None


def _demanded(found: OutputForm | None, probe: OutputProbe) -> OutputForm:
    if found is not None:
        return found
    if probe.labels is None:
        raise UsageError("cross-entropy needs labels, and the data has none; add them, or use --loss distill")
    outputs = ", ".join(f"{n!r} {list(t.shape[1:])}" for n, t in zip(probe.names, probe.student, strict=False))
    kind = str(probe.labels.dtype).removeprefix("torch.")
    raise UsageError(
        f"labels of shape {list(probe.labels.shape[1:])} a sample, {kind}, "
        f"fit no output ({outputs}) as classes; give class numbers, which are whole numbers, "
        "or a loss of your own with --loss package.module:callable"
    )


def _metric(forms: Sequence[OutputForm], classes: OutputForm | None, taught: bool) -> tuple[str, LossTerm] | None:
    if classes is not None:
        return ACCURACY, Agreement(classes, labelled=True)
    first = next((form for form in forms if form.kind == "kl"), None)
    if taught and first is not None:
        return AGREEMENT, Agreement(first, labelled=False)
    squared = [Squared.of(form) for form in forms if form.kind == "mse"]
    return ("r2", Explained(squared)) if taught and squared else None


def own_loss(text: str) -> Own:
    """The callable at ``package.module:callable``; raises UsageError where there is none."""
    return Own(text, imported(text, "--loss"))
