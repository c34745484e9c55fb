"""Sequences, which are lists here, and optional values, which may be None (ONNX SequenceConstruct-11, Optional-15)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from compressor.torch_ops.site import Function, FunctionMaker, Site, plain

Tensor = torch.Tensor
Sequence = list[Tensor]


def _construct(*values: Tensor) -> Sequence:
    return list(values)


def _empty() -> Sequence:
    return []


def _at(sequence: Sequence, place: Tensor) -> Tensor:
    return sequence[int(place)]


def _insert(sequence: Sequence, value: Tensor, place: Tensor | None = None) -> Sequence:
    index = len(sequence) if place is None else int(place)
    # A negative place counts from the end.
    index += len(sequence) if index < 0 else 0
    return [*sequence[:index], value, *sequence[index:]]


def _erase(sequence: Sequence, place: Tensor | None = None) -> Sequence:
    index = (-1 if place is None else int(place)) % len(sequence)
    return sequence[:index] + sequence[index + 1 :]


def _length(sequence: Sequence) -> Tensor:
    return torch.tensor(len(sequence), dtype=torch.int64)


def _concat(site: Site) -> Function:
    axis = site.get("axis")
    join = torch.stack if site.get("new_axis", 0) else torch.cat
    return lambda sequence: join(sequence, axis)


def _split(site: Site) -> Function:
    axis, keep = site.get("axis", 0), bool(site.get("keepdims", 1))

    def run(x: Tensor, sizes: Tensor | None = None) -> Sequence:
        if sizes is None:
            return list(torch.split(x, 1, axis)) if keep else list(x.unbind(axis))
        return list(torch.split(x, int(sizes) if sizes.dim() == 0 else sizes.tolist(), axis))

    return run


def _optional(value: Any = None) -> Any:
    return value


def _has_element(value: Any = None) -> Tensor:
    return torch.tensor(value is not None)


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "ConcatFromSequence": _concat,
        "Optional": plain(_optional),
        "OptionalGetElement": plain(_optional),
        "OptionalHasElement": plain(_has_element),
        "SequenceAt": plain(_at),
        "SequenceConstruct": plain(_construct),
        "SequenceEmpty": plain(_empty),
        "SequenceErase": plain(_erase),
        "SequenceInsert": plain(_insert),
        "SequenceLength": plain(_length),
        "SplitToSequence": _split,
    }
)
