"""Inputs that data may leave out, because what they hold follows from the text: caches, masks, positions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.formatting import printable
from compressor.data.arrays import ArrayDataset
from compressor.data.batch import Dataset
from compressor.data.kinds import InputKind, Kind, kinds_of
from compressor.data.order import undivided
from compressor.data.spec import specs
from compressor.errors import CompressorError
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer

WORDS: Mapping[Kind, str] = MappingProxyType(
    {Kind.CACHE: "empty pasts", Kind.MASK: "masks that hide nothing", Kind.POSITIONS: "positions counted from 0"}
)
"""What stands in for an input, by its kind."""


@dataclass(frozen=True)
class FilledInputs:
    """What data leave out and what fills it.

    Attributes:
        kinds: of all inputs; empty where nothing can be filled in.
        lacking: names of those that are filled in.
        pasts: axis of each cache that counts what is in it, with that of samples; None where no size is open.
    """

    kinds: tuple[InputKind, ...] = ()
    lacking: frozenset[str] = frozenset()
    pasts: Mapping[str, int | None] = field(default_factory=dict)

    def arrays(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays [n, ...] of the inputs that are lacking, for those that are given; without memory of their own."""
        count = next((len(array) for array in given.values() if array.ndim), 0)
        tokens = [given[kind.name] for kind in self.kinds if kind.kind == Kind.TOKENS and kind.name in given]
        length = next((array.shape[-1] for array in tokens if array.ndim > 1), 0)
        known = [(given[name], axis) for name, axis in self.pasts.items() if axis is not None and name in given]
        past = next((array.shape[axis] for array, axis in known if array.ndim > axis), 0)
        return {kind.name: self._array(kind, count, length, past) for kind in self.kinds if kind.name in self.lacking}

    def _array(self, kind: InputKind, count: int, length: int, past: int) -> Array:
        if kind.kind == Kind.CACHE:
            sizes = [past if axis == self.pasts[kind.name] else n for axis, n in enumerate(kind.shape, start=1)]
            return np.broadcast_to(np.zeros((), kind.dtype.numpy()), (count, *sizes))
        if kind.kind == Kind.POSITIONS:
            return np.broadcast_to(np.arange(past, past + length, dtype=kind.dtype.numpy()), (count, length))
        # A mask of padding says True for what is hidden, and one that is added to scores hides by large numbers.
        hides = kind.dtype == ir.DataType.BOOL and "padding" in kind.words
        hides |= kind.use.added and kind.dtype.is_floating_point()
        return np.broadcast_to(np.asarray(0 if hides else 1).astype(kind.dtype.numpy()), (count, past + length))


def fills_of(model: ir.Model, names: Collection[str]) -> FilledInputs:
    """What can be filled in where data have arrays of these names alone.

    Args:
        model: not changed.
        names: of the arrays there are.
    """
    inputs = specs(model)
    lacking = {spec.name for spec in inputs} - set(names)
    if not lacking or len(inputs) == 1:
        return FilledInputs()
    try:
        plain = normalise(model.clone())
        shapes = infer(plain)
        kinds = kinds_of(plain, shapes)
    except CompressorError:
        return FilledInputs()  # what is lacking is refused then
    open_axes = {
        spec.name: [k for k, d in enumerate(spec.shape or ()) if k and not isinstance(d, int)] for spec in inputs
    }
    pasts = {}
    for kind in kinds:
        # An open size that both probes agree on is fixed further inside.
        first, second = shapes.inputs[kind.name], shapes.other_inputs[kind.name]
        free = [axis for axis in open_axes[kind.name] if first[axis] != second[axis]] or open_axes[kind.name]
        if kind.kind == Kind.CACHE:
            pasts[kind.name] = free[0] if len(free) == 1 else None
    read = any(kind.kind == Kind.TOKENS and len(kind.shape) == 1 for kind in kinds)
    rows = {kind.name for kind in kinds if kind.kind in (Kind.MASK, Kind.POSITIONS) and len(kind.shape) == 1 and read}
    filled = {name for name, axis in pasts.items() if axis is not None} | rows
    return FilledInputs(kinds, frozenset(filled & lacking), pasts)


def described(fills: FilledInputs) -> dict[str, str]:
    """What stands in for each input that was filled in, in words."""
    return {kind.name: WORDS[kind.kind] for kind in fills.kinds if kind.name in fills.lacking}


def filled_notes(data: Dataset) -> list[str]:
    """A sentence on the inputs that the data leave out; none where they have all."""
    data = undivided(data)
    if not isinstance(data, ArrayDataset):
        return []
    words = {text: [printable(n) for n, other in data.filled.items() if other == text] for text in data.filled.values()}
    told = [f"{', '.join(names)} with {text}" for text, names in words.items()]
    return [f"--data has no arrays for some inputs, which were filled in: {'; '.join(told)}"] if told else []
