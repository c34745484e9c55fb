"""How each output is compared with the original's: as scores of classes, or as numbers.

The rule, for an output that the settings do not decide:

1. Whole numbers and truth values have no gradient and are left out.
2. Entries that are nowhere negative and sum to one along axis 1 or the last are *probabilities*: ``kl`` of them.
3. Where labels are class numbers whose shape is that of the output without one axis, that axis holds *scores* of
   classes: ``kl``.
4. Without such labels, outputs [n, k] with k of 2 and more are taken for scores, unless all rows have length one, as
   embeddings do. (KL at a temperature sees all of the scores but an offset that they have in common.)
5. Everything else is *numbers*: ``mse``, divided by the variance of the original's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from compressor.errors import UsageError

Tensor = torch.Tensor
TOLERANCE = 1e-3
"""How far from one a sum of probabilities, or the length of an embedding, may be."""


@dataclass(frozen=True)
class Form:
    """One output and how it is compared.

    Attributes:
        index: its number among the outputs.
        kind: by the divergence of Kullback and Leibler, by the squared difference, or not at all.
        axis: of the classes.
        probabilities: entries are probabilities, else scores of any size.
        variance: of the original's numbers.
        reason: why, in words.
    """

    name: str
    index: int
    kind: Literal["kl", "mse", "none"]
    axis: int = 1
    probabilities: bool = False
    variance: float = 1.0
    reason: str = ""

    def __str__(self) -> str:
        how = {"kl": f"kl along axis {self.axis}", "mse": "mse", "none": "left out"}[self.kind]
        return f"output {self.name!r}: {how} ({self.reason})"


def decide(
    names: Sequence[str], outputs: Sequence[Tensor], labels: Tensor | None, given: Mapping[str, str]
) -> list[Form]:
    """A form for every output.

    Args:
        names: of the outputs.
        outputs: what the original, or without one the model itself, gives for some samples.
        labels: of these samples.
        given: form by name of output as the settings write it.

    Raises:
        UsageError: ``given`` names an output that is not there, or an axis that it does not have.
    """
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise UsageError(f"the model has no output {unknown[0]!r}; it has {', '.join(names)}")
    forms = []
    for index, (name, values) in enumerate(zip(names, outputs, strict=True)):
        found = _decide(name, index, values.detach(), labels)
        if name in given:
            found = _as_given(found, given[name], values)
        forms.append(found if found.kind != "mse" else replace(found, variance=variance(values)))
    return forms


def variance(values: Tensor) -> float:
    """Of all entries; of a constant the square of its size, so that it can be divided by."""
    wide = values.detach().double()
    found = float(wide.var(correction=0))
    return found if found > 0 else float(wide.square().mean()) or 1.0


def _decide(name: str, index: int, values: Tensor, labels: Tensor | None) -> Form:
    if not values.is_floating_point():
        return Form(name, index, "none", reason=f"{str(values.dtype).removeprefix('torch.')} has no gradient")
    axis = _sums_to_one(values)
    if axis is not None:
        return Form(name, index, "kl", axis, probabilities=True, reason="entries are probabilities")
    axis = class_axis(values, labels)
    if axis is not None:
        return Form(name, index, "kl", axis, reason="labels are classes along that axis")
    if values.dim() == 2 and values.shape[1] > 1:
        if _unit_length(values):
            return Form(name, index, "mse", reason="rows have length one, as embeddings do")
        return Form(name, index, "kl", reason="rows are taken for scores of classes")
    return Form(name, index, "mse", reason="entries are taken for numbers")


def class_axis(values: Tensor, labels: Tensor | None) -> int | None:
    """The axis of ``values`` without which their shape is that of the class numbers."""
    if labels is None or labels.is_floating_point() or values.dim() < 2 or labels.dim() != values.dim() - 1:
        return None
    for axis in (1, values.dim() - 1):
        rest = [*values.shape[:axis], *values.shape[axis + 1 :]]
        if rest == list(labels.shape) and values.shape[axis] > 1:
            return axis
    return None


def _sums_to_one(values: Tensor) -> int | None:
    if values.dim() < 2 or not values.numel() or float(values.min()) < 0:
        return None
    for axis in dict.fromkeys((1, values.dim() - 1)):
        if values.shape[axis] > 1 and float((values.double().sum(axis) - 1).abs().max()) < TOLERANCE:
            return axis
    return None


def _unit_length(values: Tensor) -> bool:
    return float((values.double().norm(dim=1) - 1).abs().max()) < TOLERANCE


def _as_given(found: Form, text: str, values: Tensor) -> Form:
    kind, _, number = text.partition(":")
    axis = int(number or 1)
    if kind != "none" and not values.is_floating_point():
        raise UsageError(
            f"output {found.name!r} holds whole numbers, which have no gradient; its form can only be none"
        )
    if kind != "kl":
        chosen: Literal["mse", "none"] = "mse" if kind == "mse" else "none"
        return Form(found.name, found.index, chosen, reason="as asked")
    if not -values.dim() <= axis < values.dim() or axis % values.dim() == 0:
        raise UsageError(f"output {found.name!r} has {values.dim()} axes, none of which is axis {axis} of classes")
    axis %= values.dim()
    return Form(found.name, found.index, "kl", axis, _sums_to_one(values) == axis, reason="as asked")
