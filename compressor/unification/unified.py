"""A layer whose weights were constrained and packed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.unification import measure
from compressor.unification.layers import UnifiedLayer
from compressor.unification.packed import Packed
from compressor.unification.packed_codebook import PackedCodebook


@dataclass(frozen=True)
class Unified:
    """A layer with its weights and their packed form.

    Attributes:
        layer: where it is.
        original: the weight as it came.
        constrained: as it was packed, which free blocks are taken from.
        packed: what is stored.
    """

    layer: UnifiedLayer
    original: Array
    constrained: Array
    packed: Packed | PackedCodebook

    @cached_property
    def weight(self) -> Array:
        """The constrained weight, as it is written."""
        return self.packed.decode()

    @property
    def unchanged(self) -> bool:
        """Is the weight, to the bit, what it was when it came?"""
        return np.array_equal(self.weight, self.original)

    def satisfied(self, weight: Array) -> bool:
        """Whether ``weight`` satisfies the constraint that was packed, to the last bit."""
        if isinstance(self.packed, PackedCodebook):
            return self.packed.satisfied(weight)
        return measure.satisfied(weight, self.constrained, self.layer.layout, self.packed.kinds())

    def measured(self) -> measure.WeightStatistics:
        """What it costs and saves."""
        if isinstance(self.packed, PackedCodebook):
            return measure.measure_codebook(self.original, self.packed, self.weight, self.layer.macs)
        return measure.weight_statistics(self.original, self.packed, self.weight, self.layer.macs)


def with_unified(model: ir.Model, unified: Iterable[Unified]) -> ir.Model:
    """A copy of the model with the constrained weights as plain tensors."""
    copy = model.clone()
    for item in unified:
        name = item.layer.name
        copy.graph.initializers[name].const_value = ir.tensor(item.weight, name=name)
    return copy
