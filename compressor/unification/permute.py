"""Another order of channels, in which blocks hold weights of like size: exact, as producers and consumers move as one.

(Permutation before structured sparsity: Pool and Yu, NeurIPS 2021; here it lowers D_u.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.channels.coupling import Coupling
from compressor.channels.groups import group
from compressor.channels.reorder import GroupPlace, Holders, Order, move, moved
from compressor.graph.ir.edit import constant_array
from compressor.unification.layers import UnifiedLayer
from compressor.unification.packed import in_work_type
from compressor.unification.projections import damages

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


def permute(coupling: Coupling, layers: Sequence[UnifiedLayer], seed: int = 0) -> list[Permuted]:
    """Reorders the channels of every group where that lowers the damage of unifying ``layers``, in place.

    Args:
        coupling: of the model whose initializers are changed.
        layers: with their blocks.
        seed: of the random projection by which channels are compared.
    """
    known = {layer.value: layer for layer in layers}
    holders = Holders(coupling)
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
                move(place, order)
            found.append(Permuted(member.name, count, before, after))
    return found


# ---- what it is worth ---------------------------------------------------------------------------------------


def _damage(layer: UnifiedLayer, weight: Any) -> float:
    """D_u of all blocks, as a share of the norm of the weight."""
    wide = in_work_type(weight)
    norm = float((wide * wide).sum(dtype=np.float64))
    return float(damages(layer.layout.blocks(wide))[1].sum(dtype=np.float64)) / norm if norm else 0.0


def _total(touched: Sequence[tuple[UnifiedLayer, GroupPlace]], order: Order) -> float:
    """The damage of all layers in another order; a layer that holds the group twice moves along both axes."""
    arrays: dict[UnifiedLayer, Any] = {}
    for layer, place in touched:
        # On top of what another place of the same layer has moved.
        arrays[layer] = moved(arrays.get(layer, constant_array(layer.value)), place, order)
    return sum(_damage(layer, array) for layer, array in arrays.items())


def _span(layer: UnifiedLayer, place: GroupPlace) -> int:
    """How many positions of the axis one block spans."""
    layout = layer.layout
    marks = np.moveaxis(np.zeros(layout.view.shape, np.int64), place.axis, -1)
    marks[...] = np.arange(marks.shape[-1])
    first = layout.blocks(np.moveaxis(marks, -1, place.axis))[:, 0]
    return len(np.unique(first))


def _orders(touched: Sequence[tuple[UnifiedLayer, GroupPlace]], count: int, seed: int) -> Iterator[Order]:
    """Candidates: by mean absolute weight, and like beside like."""
    sizes = [_slices(constant_array(layer.value), place, count) for layer, place in touched]
    # Each layer as a share of its own size, so that none decides alone.
    yield np.argsort(sum(s.mean(1) / max(float(s.mean()), 1e-30) for s in sizes), kind="stable")
    rng = np.random.default_rng(seed)
    short = [s @ rng.standard_normal((s.shape[1], _WIDTH)) / max(float(np.linalg.norm(s)), 1e-30) for s in sizes]
    yield _alike(np.concatenate(short, 1), min(_span(layer, place) for layer, place in touched))


def _slices(array: Any, place: GroupPlace, count: int) -> Any:
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
