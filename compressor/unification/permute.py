"""Another order of channels, in which blocks hold weights of like size: exact, as producers and consumers move as one.

A channel group of the coupling is what has to move together. It is reordered only where its units lie in one unbroken
run, in one order, on every axis that holds them; groups that are split, shuffled or tiled somewhere stay as they are.
(Permutation before structured sparsity: Pool and Yu, NeurIPS 2021; here it lowers D_u.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup, group
from compressor.channels.labels import Term, UnitArray
from compressor.graph.edit import constant_array
from compressor.unification.layers import UnifiedLayer
from compressor.unification.packed import HALF
from compressor.unification.projections import damages

Order = npt.NDArray[np.int64]
_WIDTH = 64
"""Dimensions that a channel's weights are projected to before channels are compared."""


@dataclass(frozen=True)
class Permuted:
    """A group whose channels were reordered.

    Attributes:
        name: of the group.
        channels: how many.
        before: damage of unifying all blocks of its layers, each as a share of its layer's norm, summed; before and
        after: after the reordering.
    """

    name: str
    channels: int
    before: float
    after: float


@dataclass(frozen=True)
class _Place:
    """Where an initializer holds a group: positions ``start ...`` of an axis, ``each`` of them a unit."""

    value: ir.Value
    axis: int
    start: int
    each: int


def permute(coupling: Coupling, layers: Sequence[UnifiedLayer], seed: int = 0) -> list[Permuted]:
    """Reorders the channels of every group where that lowers the damage of unifying ``layers``, in place.

    Args:
        coupling: of the model whose initializers are changed.
        layers: with their blocks.
        seed: of the random projection by which channels are compared.
    """
    known = {layer.value: layer for layer in layers}
    holders = _Holders(coupling)
    found = []
    for member in group(coupling):
        places = holders.places(member)
        # Along an axis on which blocks are one wide, order changes nothing.
        touched = [(known[p.value], p) for p in places if p.value in known and _span(known[p.value], p) > 1]
        if not touched:
            continue
        count = len(member.units)
        before = _total(touched, np.arange(count))
        options = [(_total(touched, order), order) for order in _orders(touched, count, seed)]
        after, order = min(options, key=lambda option: option[0])
        # Compared on the weights as they are by now: groups before may have changed them along other axes.
        if after < before:
            for place in places:
                _move(place, order)
            found.append(Permuted(member.name, count, before, after))
    return found


# ---- what has to move ---------------------------------------------------------------------------------------


class _Holders:
    """Every term of every value, found by the units in it."""

    def __init__(self, coupling: Coupling) -> None:
        graph = coupling.graph
        values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        self.terms = [(value, term) for value in values for term in coupling.layout(value, assign_fresh=False)]
        self.of: dict[int, list[int]] = {}
        for index, (_, term) in enumerate(self.terms):
            for unit in np.unique(term.units).tolist():
                self.of.setdefault(unit, []).append(index)

    def places(self, member: ChannelGroup) -> list[_Place]:
        """Where initializers hold the group; none where its units do not lie in one run and order everywhere."""
        found = []
        for index in sorted({index for unit in member.units.tolist() for index in self.of.get(unit, [])}):
            value, term = self.terms[index]
            run = _run(term, member.units)
            # An initializer that the caller may replace would be replaced in the old order.
            if run is None or (value.is_initializer() and value.is_graph_input()):
                return []
            if value.is_initializer():
                found.append(_Place(value, term.axes[0], *run))
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


def _move(place: _Place, order: Order) -> None:
    array = constant_array(place.value)
    place.value.const_value = ir.tensor(_moved(array, place, order), name=place.value.name)


def _moved(array: Any, place: _Place, order: Order) -> Any:
    index = np.arange(array.shape[place.axis])
    run = slice(place.start, place.start + len(order) * place.each)
    index[run] = index[run].reshape(-1, place.each)[order].ravel()
    return np.ascontiguousarray(np.take(array, index, axis=place.axis))


# ---- what it is worth ---------------------------------------------------------------------------------------


def _damage(layer: UnifiedLayer, weight: Any) -> float:
    """D_u of all blocks, as a share of the norm of the weight."""
    wide = weight.astype(np.float32) if weight.dtype in HALF else weight
    norm = float((wide * wide).sum(dtype=np.float64))
    return float(damages(layer.layout.blocks(wide))[1].sum(dtype=np.float64)) / norm if norm else 0.0


def _total(touched: Sequence[tuple[UnifiedLayer, _Place]], order: Order) -> float:
    """The damage of all layers in another order; a layer that holds the group twice moves along both axes."""
    arrays: dict[UnifiedLayer, Any] = {}
    for layer, place in touched:
        # On top of what another place of the same layer has moved.
        arrays[layer] = _moved(arrays.get(layer, constant_array(layer.value)), place, order)
    return sum(_damage(layer, array) for layer, array in arrays.items())


def _span(layer: UnifiedLayer, place: _Place) -> int:
    """How many positions of the axis one block spans."""
    layout = layer.layout
    marks = np.moveaxis(np.zeros(layout.view.shape, np.int64), place.axis, -1)
    marks[...] = np.arange(marks.shape[-1])
    first = layout.blocks(np.moveaxis(marks, -1, place.axis))[:, 0]
    return len(np.unique(first))


def _orders(touched: Sequence[tuple[UnifiedLayer, _Place]], count: int, seed: int) -> Iterator[Order]:
    """Candidates: by mean absolute weight, and like beside like."""
    sizes = [_slices(constant_array(layer.value), place, count) for layer, place in touched]
    # Each layer as a share of its own size, so that none decides alone.
    yield np.argsort(sum(s.mean(1) / max(float(s.mean()), 1e-30) for s in sizes), kind="stable")
    rng = np.random.default_rng(seed)
    short = [s @ rng.standard_normal((s.shape[1], _WIDTH)) / max(float(np.linalg.norm(s)), 1e-30) for s in sizes]
    yield _alike(np.concatenate(short, 1), min(_span(layer, place) for layer, place in touched))


def _slices(array: Any, place: _Place, count: int) -> Any:
    """|w| of each channel of the group, ``[count, ...]``, in double precision."""
    run = np.moveaxis(array, place.axis, 0)[place.start : place.start + count * place.each]
    return abs(run.astype(np.float64)).reshape(count, -1)


def _alike(features: npt.NDArray[np.float64], together: int) -> Order:
    """Greedy: the largest channel that is left, and those nearest to it."""
    left = np.argsort(-(features * features).sum(1), kind="stable")
    order: list[npt.NDArray[np.int64]] = []
    while len(left):
        gaps = ((features[left] - features[left[0]]) ** 2).sum(1)
        near = np.argsort(gaps, kind="stable")[:together]
        order.append(left[near])
        left = np.delete(left, near)
    return np.concatenate(order)
