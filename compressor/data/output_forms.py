"""What the outputs of a model are: scores of classes along an axis, or numbers.

Training, accuracy and every comparison of two models ask here. The rule, for an output that the settings do not decide:

1. Whole numbers and truth values have no gradient and are left out.
2. Entries that are nowhere negative and sum to one along axis 1 or the last are *probabilities*: ``kl`` of them.
3. Where labels are class numbers whose shape is that of the output without one axis, that axis holds *scores* of
   classes: ``kl``.
4. Without such labels, outputs [n, k] with k of 2 and more are taken for scores, unless labels are numbers of that
   shape, or all rows have length one, as embeddings do. (KL at a temperature sees all of the scores but an offset that
   they have in common.)
5. Outputs of more axes hold scores where the last axis is as long as a table that the model looks whole numbers up in,
   as those of a language model do; or where their name says so (``logits``, ``scores``), along the last axis of three
   and axis 1 of more, as classifiers of pixels and voxels lay them out.
6. Everything else is *numbers*: ``mse``, divided by the variance of the original's. Where parts of an output are in
   units of their own, as boxes in pixels beside probabilities are, each is divided by its own, or the largest would
   drown the others: the parts that distances are measured by (:mod:`compressor.data.output_units`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from compressor.config.training import FormKind
from compressor.core.arrays import Array
from compressor.data.output_units import TOLERANCE, OutputUnits, are_probabilities, variance
from compressor.errors import UsageError

STEPS_TO_TABLE = 4
"""Operators between an input of whole numbers and the table that it indexes."""
_SCORES = re.compile(r"(^|[^a-z])(logits?|scores?)($|[^a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class OutputForm:
    """One output and how it is compared.

    Attributes:
        index: its number among the outputs.
        kind: by the divergence of Kullback and Leibler, by the squared difference, or not at all.
        axis: of the classes, or of the parts that are in units of their own.
        probabilities: entries are probabilities, else scores of any size.
        variance: of the original's numbers.
        scales: where parts along ``axis`` are in units of their own, what squares are divided by at each position there
            (:meth:`compressor.data.output_units.OutputUnits.scales`); else empty.
        reason: why, in words.
    """

    name: str
    index: int
    kind: FormKind
    axis: int = 1
    probabilities: bool = False
    variance: float = 1.0
    scales: tuple[float, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        units = f", each part along axis {self.axis} by its own variance" if self.scales else ""
        how = {"kl": f"kl along axis {self.axis}", "mse": f"mse{units}", "none": "left out"}[self.kind]
        return f"output {self.name!r}: {how} ({self.reason})"


def decide(
    names: Sequence[str],
    outputs: Sequence[Array],
    labels: Array | None,
    given: Mapping[str, str],
    vocabularies: Collection[int] = (),
) -> list[OutputForm]:
    """A form for every output.

    Args:
        names: of the outputs.
        outputs: what the original, or without one the model itself, gives for some samples.
        labels: of these samples.
        given: form by name of output as the settings write it.
        vocabularies: lengths of the tables that the model looks whole numbers up in, see :func:`vocabularies`.

    Raises:
        UsageError: ``given`` names an output that is not there, or an axis that it does not have.
    """
    # A name with a typing error would otherwise be passed over.
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise UsageError(f"the model has no output {unknown[0]!r}; it has {', '.join(names)}")
    forms = []
    for index, (name, values) in enumerate(zip(names, outputs, strict=True)):
        form = _decide(
            OutputForm(name, index, "mse", reason="entries are taken for numbers"), values, labels, vocabularies
        )
        if name in given:
            form = _as_given(form, given[name], values)
        forms.append(form if form.kind != "mse" else _measured(form, values))
    return forms


def _measured(found: OutputForm, values: Array) -> OutputForm:
    """The form of numbers with their variance."""
    units = OutputUnits.of(values)
    axis = units.axis if units.starts else found.axis
    return replace(found, variance=variance(values), axis=axis, scales=units.scales(values))


def class_axis(values: Array, labels: Array | None) -> int | None:
    """The axis of ``values`` without which their shape is that of the class numbers."""
    if labels is None or labels.dtype.kind == "f" or values.ndim < 2 or labels.ndim != values.ndim - 1:
        return None
    # Axis 1 goes first where both fit, as for square maps.
    for axis in (1, values.ndim - 1):
        rest = (*values.shape[:axis], *values.shape[axis + 1 :])
        if rest == labels.shape and values.shape[axis] > 1:
            return axis
    return None


def are_targets(labels: Array | None, values: Array) -> bool:
    """Are labels the numbers that an output should hold? Probabilities of classes are not."""
    return labels is not None and labels.shape == values.shape and _floating(labels) and _sums_to_one(labels) is None


def vocabularies(model: ir.Model) -> set[int]:
    """Lengths of the weights that the model's inputs of whole numbers index directly, such as tables of tokens.

    A few operators on the way, such as a cast or a sum, are passed; one that reads a weight of two axes and the input
    is taken for a look-up.
    """
    found = set[int]()
    frontier = {v for v in model.graph.inputs if v.dtype is not None and not v.dtype.is_floating_point()}
    # Only a few steps: further on, whole numbers are used for other things.
    for _ in range(STEPS_TO_TABLE):
        readers = {node for value in frontier for node in value.consumers()}
        frontier = set()
        for node in readers:
            constants = [v.const_value for v in node.inputs if v is not None and v.const_value is not None]
            tables = [t for t in constants if len(t.shape) == 2 and t.dtype.is_floating_point()]
            found.update(int(t.shape.numpy()[0]) for t in tables)
            if not tables:
                # A table turns whole numbers into features; what comes after it is no index any more.
                frontier.update(v for v in node.outputs if v.dtype is None or not v.dtype.is_floating_point())
    return found


def _decide(numbers: OutputForm, values: Array, labels: Array | None, known: Collection[int]) -> OutputForm:
    if not _floating(values):
        return replace(numbers, kind="none", reason=f"{values.dtype.name} has no gradient")
    axis = _sums_to_one(values)
    if axis is not None:
        return replace(numbers, kind="kl", axis=axis, probabilities=True, reason="entries are probabilities")
    axis = class_axis(values, labels)
    if axis is not None:
        return replace(numbers, kind="kl", axis=axis, reason="labels are classes along that axis")
    if why := _why_numbers(values, labels):
        return replace(numbers, reason=why)
    if values.ndim == 2 and values.shape[1] > 1:
        return replace(numbers, kind="kl", reason="rows are taken for scores of classes")
    if values.ndim > 2 and values.shape[-1] in known:
        return replace(numbers, kind="kl", axis=values.ndim - 1, reason="as many entries as there are tokens")
    if values.ndim > 2 and _SCORES.search(numbers.name):
        return replace(numbers, kind="kl", axis=2 if values.ndim == 3 else 1, reason="named as scores of classes")
    return numbers


def _why_numbers(values: Array, labels: Array | None) -> str:
    """Why entries are no scores, whatever the shape and the name; empty where nothing says so."""
    if are_targets(labels, values):
        return "labels are numbers of that shape"
    rows = values.ndim == 2 and values.shape[1] > 1
    return "rows have length one, as embeddings do" if rows and _unit_length(values) else ""


def _floating(values: Array) -> bool:
    return values.dtype.kind == "f" or values.dtype.name == "bfloat16"


def _sums_to_one(values: Array) -> int | None:
    # With two axes both are the same one, which is asked once.
    axes = dict.fromkeys((1, values.ndim - 1)) if values.ndim > 1 else ()
    return next((axis for axis in axes if values.shape[axis] > 1 and are_probabilities(values, axis)), None)


def _unit_length(values: Array) -> bool:
    return float(np.abs(np.linalg.norm(values.astype(np.float64), axis=1) - 1).max()) < TOLERANCE


def _as_given(found: OutputForm, text: str, values: Array) -> OutputForm:
    kind, _, number = text.partition(":")
    axis = int(number or 1)
    if kind != "none" and not _floating(values):
        raise UsageError(
            f"output {found.name!r} holds whole numbers, which have no gradient; its form can only be none"
        )
    if kind != "kl":
        return OutputForm(found.name, found.index, "mse" if kind == "mse" else "none", reason="as asked")
    if not -values.ndim <= axis < values.ndim or axis % values.ndim == 0:
        raise UsageError(
            f"output {found.name!r} has {values.ndim} axes, none of which is axis {axis} of classes; give another axis "
            "after kl:, or mse"
        )
    # Negative axes count from the end.
    axis %= values.ndim
    return OutputForm(found.name, found.index, "kl", axis, _sums_to_one(values) == axis, reason="as asked")
