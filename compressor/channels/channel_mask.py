"""What is left of every tensor once a set of units is removed."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.labels import Term, UnitArray
from compressor.channels.residual import ResidualBlock
from compressor.core.arrays import Mask
from compressor.errors import PlanError


class ChannelMask:
    """A coupling and the units that go: keep masks and planned shapes, for every value."""

    def __init__(self, coupling: Coupling, removed: UnitArray) -> None:
        self.coupling = coupling
        self._kept: dict[int, tuple[Term[int], Mask]] = {}
        self._gone = np.zeros(len(coupling.units), np.bool_)
        self._gone[coupling.units.find(np.asarray(removed, np.int64))] = True
        # Unit 0 stands for everything that is frozen.
        if self._gone[0]:
            raise PlanError("the plan removes a channel that the graph cannot do without")

    @property
    def removed(self) -> int:
        """Number of units that are removed."""
        return int(self._gone.sum())

    @property
    def blocks(self) -> list[ResidualBlock]:
        """Residual blocks that go."""
        return [block for block in self.coupling.blocks if self._gone[block.unit]]

    def on(self, graph: ir.Graph) -> ChannelMask:
        """The same for ``graph``, a clone that nobody has edited."""
        return ChannelMask(self.coupling.on(graph), np.flatnonzero(self._gone))

    def check(self) -> None:
        """Every row of every joint term keeps the same count.

        Raises:
            PlanError: it does not; the plan was made for another model or edited by hand.
        """
        terms = [(b.term.units, b.node) for b in self.coupling.balances]
        terms += [(t.units, str(v.name)) for v, t in self.coupling.joint_terms()]
        for units, where in terms:
            counts = (~self._gone[self.coupling.units.find(units)]).reshape(-1, units.shape[-1]).sum(axis=1)
            # A row of which nothing is left goes as a whole (a head, a group), and does not make the others uneven.
            if len(set(counts[counts > 0].tolist())) > 1:
                raise PlanError(f"the plan takes different numbers of channels from the rows at {where!r}")

    def keeps_units(self, units: UnitArray) -> Mask:
        """Which of ``units`` stay: bool of the same shape."""
        return ~self._gone[self.coupling.units.find(units)]

    def keeps(self, term: Term[int]) -> Mask:
        """Which positions of ``term`` stay; the shape of ``term.units``. Values share terms, so it is computed once."""
        if id(term) not in self._kept:
            self._kept[id(term)] = term, ~self._gone[self.coupling.units.find(term.units)]
        return self._kept[id(term)][1]

    def before(self, value: ir.Value | None) -> tuple[int, ...]:
        """Shape of ``value`` before the cut."""
        return () if value is None else self.coupling.shapes(value) or ()

    def after(self, value: ir.Value | None) -> tuple[int, ...]:
        """The planned shape of ``value``.

        Raises:
            PlanError: rows of a joint term would keep different counts, or nothing would be left.
        """
        shape = list(self.before(value))
        name = value.name if value is not None else ""
        for term in self.coupling.layout(value, assign_fresh=False):
            if len(term.axes) == 1:
                shape[term.axes[0]] = int(self.keep(value, term.axes).sum())
                continue
            counts = self.keeps(term).reshape(-1, term.units.shape[-1]).sum(axis=1)
            live = counts[counts > 0]
            # Rows that go as a whole shorten the first axis; with more than one axis of rows it would not be known
            # which.
            if not live.size or (live != live[0]).any() or (len(live) < len(counts) and len(term.axes) > 2):
                raise PlanError(f"the plan leaves rows of different width, or nothing, in {name}")
            shape[term.axes[-1]] = int(live[0])
            if len(live) < len(counts):
                shape[term.axes[0]] = min(shape[term.axes[0]], len(live))
        # An axis may have been empty in the model itself.
        if 0 in shape and 0 not in self.before(value):
            raise PlanError(f"the plan leaves nothing of {name}")
        if not self._is_block(value, shape):
            raise PlanError(f"the plan keeps outputs of {name} whose inputs all go, or inputs whose outputs do")
        return tuple(shape)

    def _is_block(self, value: ir.Value | None, shape: list[int]) -> bool:
        """Do the positions that stay fill ``shape``? Terms that share an axis can contradict each other about it."""
        terms = self.coupling.layout(value, assign_fresh=False)
        axes = [axis for term in terms for axis in term.axes]
        if len(axes) == len(set(axes)):
            return True  # no axis is shared, which is the usual case
        mask = self.mask(value)
        return mask is None or mask.sum() == math.prod(
            n for n, varies in zip(shape, mask.shape, strict=True) if varies > 1
        )

    def touches(self, value: ir.Value | None) -> bool:
        """Does ``value`` lose a position on any axis?"""
        return any(not self.keeps(t).all() for t in self.coupling.layout(value, assign_fresh=False))

    def keep(self, value: ir.Value | None, axes: tuple[int, ...]) -> Mask:
        """Which positions of ``value`` stay along ``axes``; bool of their sizes."""
        shape = self.before(value)
        terms = self.coupling.layout(value, assign_fresh=False)
        # The usual case, without a mask of ones.
        if len(terms) == 1 and terms[0].axes == axes:
            return self.keeps(terms[0])
        mask = np.ones([shape[a] for a in axes], np.bool_)
        for term in terms:
            if set(term.axes) <= set(axes):
                index = tuple(slice(None) if a in term.axes else None for a in axes)
                mask &= self.keeps(term)[index]
        return mask

    def taken(self, value: ir.Value | None, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """What stays of ``array``, which the uncut model computes for ``value``, in the shape that the smaller one has.

        Raises:
            ValueError: it has other sizes than the cut was planned for.
        """
        mask = self.mask(value)
        if mask is None:
            return array
        # One axis alone is the common case, and several times faster than a mask of the whole array.
        wide = [axis for axis, size in enumerate(mask.shape) if size > 1]
        if len(wide) == 1 and mask.size == array.shape[wide[0]]:
            return np.compress(mask.ravel(), array, axis=wide[0])
        # Axes along which nothing goes have the sizes of this run, not those that were planned with.
        sizes = zip(self.after(value), mask.shape, array.shape, strict=True)
        shape = [after if varies > 1 else size for after, varies, size in sizes]
        return array[np.broadcast_to(mask, array.shape)].reshape(shape)

    def fits(self, value: ir.Value | None, array: npt.NDArray[np.generic]) -> bool:
        """Has ``array`` the sizes that the cut was planned for, along the axes of ``value`` on which something goes?"""
        mask = self.mask(value)
        if mask is None:
            return True
        return mask.ndim == array.ndim and all(
            planned in (1, size) for planned, size in zip(mask.shape, array.shape, strict=True)
        )

    def mask(self, value: ir.Value | None) -> Mask | None:
        """Which positions of ``value`` stay, of its rank, with size 1 where nothing varies; None: all of them."""
        factors = self.factors(value)
        return reduce(np.logical_and, factors) if factors else None

    def factors(self, value: ir.Value | None) -> list[Mask]:
        """As :meth:`mask`, but not multiplied out: a position stays where all of them say so.

        They have the sizes of the axes, where the mask of a large weight has that of the weight.
        """
        rank = len(self.before(value))
        kept = [(term, self.keeps(term)) for term in self.coupling.layout(value, assign_fresh=False)]
        return [
            keep[tuple(slice(None) if a in term.axes else None for a in range(rank))]
            for term, keep in kept
            if not keep.all()
        ]
