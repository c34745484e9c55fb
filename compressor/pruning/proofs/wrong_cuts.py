"""Cuts that are wrong on purpose: what a slice leaves of a weight that is off by one in one group of channels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import ChannelGroup, Slot
from compressor.core.arrays import Array
from compressor.core.compare import same_bits
from compressor.graph.ir.nodes import dims_of
from compressor.graph.tensors.weights import DerivedTensor
from compressor.pruning.cut.surgery import compact

WrongWeight = tuple[str, ir.TensorProtocol]
"""The name of a weight of the smaller model, and what is put in its place."""


@dataclass(frozen=True)
class WrongCuts:
    """Makes wrong cuts of one model.

    Attributes:
        cut: what went, of the model that was analysed.
        small: what is left of it; it is not edited.
    """

    cut: ChannelMask
    small: ir.Model

    def can_be_wrong(self, member: ChannelGroup) -> bool:
        """Does some of it go and some of it stay?"""
        kept = self.cut.keeps_units(member.units)
        return bool(kept.any() and not kept.all())

    def choose(self, groups: Sequence[ChannelGroup]) -> dict[str, WrongWeight]:
        """By group, a weight of the smaller model and what a slice that is off by one leaves of it.

        A weight that no other group was given is taken where there is one. A group is left out where no weight of
        it differs.
        """
        cuts: dict[str, WrongWeight] = {}
        taken: set[str] = set()
        for member in groups:
            # Lazily: a wrong slice of a large weight costs as much as a cut, and mostly the first will do.
            found = next(self._wrong(member, taken), None)
            if found is not None:
                cuts[member.name] = found
                taken.add(found[0])
        return cuts

    def _wrong(self, member: ChannelGroup, last: Collection[str]) -> Iterator[WrongWeight]:
        """Weights of the smaller model that hold the group, each as a slice that is off by one would leave it; those
        that are named ``last`` after the others.
        """
        # Small kernels first, as shifting takes time; a bias may move an output by little.
        slots = sorted(
            member.slots,
            key=lambda s: (
                s.value.name in last,
                len(s.value.shape or ()) < 2,
                s.value.const_value.size if s.value.const_value is not None else 0,
            ),
        )
        for slot in slots if self.can_be_wrong(member) else ():
            name, tensor = str(slot.value.name), slot.value.const_value
            left = self.small.graph.initializers.get(name)
            if tensor is None or left is None or left.const_value is None:
                continue
            array = tensor.numpy()
            right, wrong = compact(array, self.cut, slot.value), self._shifted(array, slot, member)
            # Other shapes mean that surgery did more than slice here (a repaired table, say), so that shifting means
            # nothing.
            same = wrong.shape == right.shape == dims_of(left.const_value)
            if same and not same_bits(wrong, right):
                # Making it now would hold a large weight in memory for every group.
                if isinstance(left.const_value, DerivedTensor):  # a weight that is made when it is read
                    yield name, self._made_again(tensor, slot, member, left.const_value)
                else:
                    yield name, ir.tensor(wrong, name=name)

    def _made_again(
        self, tensor: ir.TensorProtocol, slot: Slot, member: ChannelGroup, like: ir.TensorProtocol
    ) -> ir.LazyTensor:
        def shifted() -> ir.TensorProtocol:
            return ir.tensor(self._shifted(tensor.numpy(), slot, member), name=like.name)

        return ir.LazyTensor(shifted, like.dtype, ir.Shape(dims_of(like)), name=like.name)

    def _shifted(self, array: Array, slot: Slot, member: ChannelGroup) -> Array:
        """``compact`` of data in which one group is shifted by one along the slot's last axis."""
        units, axes = self.cut.coupling.units.find(slot.term.units), slot.term.axes
        # Other groups on the same axes stay right, so that what is noticed is the fault of this group.
        of_group = np.zeros(len(self.cut.coupling.units), bool)
        of_group[member.units] = True
        own = of_group[units].transpose(np.argsort(axes))
        own = np.expand_dims(own, tuple(axis for axis in range(array.ndim) if axis not in axes))
        # Data that moves under the right cut is what a cut that moves over the data gives: one function slices. The
        # last position wraps around to the first, so that as many are read as before.
        return compact(np.where(own, np.roll(array, -1, axes[-1]), array), self.cut, slot.value)
