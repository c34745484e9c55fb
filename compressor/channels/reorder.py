"""Another order of the channels of a group: exact, as producers and consumers move as one.

A channel group of the coupling is what has to move together. It is reordered only where its units lie in one unbroken
run, in one order, on every axis that holds them; groups that are split, shuffled or tiled somewhere stay as they are,
and so do those of which some node looks at neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import Term, UnitArray
from compressor.graph.ir.edit import constant_array
from compressor.graph.tensors.weights import taken

Order = npt.NDArray[np.int64]
"""Which unit stands at each place, of those of a group as they are numbered."""


@dataclass(frozen=True)
class GroupPlace:
    """Where an initializer holds a group: positions ``start ...`` of an axis, ``each`` of them a unit."""

    value: ir.Value
    axis: int
    start: int
    each: int
    units: int

    def positions(self, size: int, order: Order) -> Order:
        """Which position of the axis, of this size, comes to stand at each."""
        index = np.arange(size)
        run = slice(self.start, self.start + len(order) * self.each)
        index[run] = index[run].reshape(-1, self.each)[order].ravel()
        return index


class Holders:
    """Every term of every value, found by the units in it."""

    def __init__(self, coupling: Coupling) -> None:
        graph = coupling.graph
        values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        self.terms = [(value, term) for value in values for term in coupling.layout(value, assign_fresh=False)]
        self.of: dict[int, list[int]] = {}
        met = coupling.node_operands.values()
        placed = [t.units.ravel() for n in met for p in n.parts for t in p.terms if n.in_order.intersection(t.axes)]
        self._placed = coupling.units.find(np.unique(np.concatenate([np.zeros(0, np.int64), *placed])))
        for index, (_, term) in enumerate(self.terms):
            for unit in np.unique(term.units).tolist():
                self.of.setdefault(unit, []).append(index)

    def places(self, member: ChannelGroup) -> list[GroupPlace]:
        """Where initializers hold the group; none where its units do not lie in one run and order everywhere, or their
        order counts."""
        if np.isin(member.units, self._placed).any():
            return []
        found = []
        for index in sorted({index for unit in member.units.tolist() for index in self.of.get(unit, [])}):
            value, term = self.terms[index]
            run = _run(term, member.units)
            # An initializer that the caller may replace would be replaced in the old order.
            if run is None or (value.is_initializer() and value.is_graph_input()):
                return []
            if value.is_initializer():
                found.append(GroupPlace(value, term.axes[0], *run, len(member.units)))
        return found


def _run(term: Term[int], units: UnitArray) -> tuple[int, int] | None:
    """(start, positions a unit) where the units fill one run of one axis in their order, else None."""
    if len(term.axes) > 1:
        return None
    where = np.flatnonzero(np.isin(term.units, units))
    # A unit may hold several positions in a row, as behind a Flatten.
    each = len(where) // len(units)
    unbroken = where[-1] - where[0] + 1 == len(where)
    if not unbroken or not np.array_equal(term.units[where], np.repeat(units, each)):
        return None
    return int(where[0]), each


def move(place: GroupPlace, order: Order) -> None:
    """Reorders an initializer in place."""
    array = constant_array(place.value)
    place.value.const_value = ir.tensor(moved(array, place, order), name=place.value.name)


def moved(array: Any, place: GroupPlace, order: Order) -> Any:
    """The numbers of an initializer after its group is reordered."""
    return np.ascontiguousarray(taken(array, {place.axis: place.positions(array.shape[place.axis], order)}))
