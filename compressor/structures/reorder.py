"""Orders of channels in which masked layers need not move them: absorbed by all that holds a group of channels.

A class of filters that reads scattered channels needs a Gather in front, one that gives scattered outputs needs one
behind. Where the group of these channels may be reordered (:mod:`compressor.channels.reorder`), its producers and
consumers take up the order, and the Gather is gone, or is a Slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.groups import group
from compressor.channels.reorder import GroupPlace, Holders, Order, move
from compressor.structures.layer.layers import CandidateLayer
from compressor.structures.masks.masked import MaskOption

OUTPUTS, INPUTS = 0, 1
"""Axes of the weight of a convolution of one group."""


@dataclass(frozen=True)
class _Side:
    """An axis of a masked weight that a whole group lies on."""

    weight: str
    axis: int


def movable(coupling: Coupling, layers: Iterable[CandidateLayer]) -> set[str]:
    """Names of the layers that may have input channels in an order of their own: of each group the largest reader."""
    sizes = {_name(layer): (layer.geometry.params, layer.name) for layer in layers}
    found = set()
    for places in _groups(coupling):
        readers = [sizes[side.weight] for side in _sides(places, sizes) if side.axis == INPUTS]
        if readers:
            found.add(max(readers)[1])
    return found


def reorder(model: ir.Model, coupling: Coupling, options: Mapping[str, MaskOption]) -> dict[str, MaskOption]:
    """Reorders groups of ``model`` where masked layers then move fewer channels, in place.

    Args:
        model: with whole, masked weights.
        coupling: of a copy of it, with biases and all that its recovery put in.
        options: by name of the weight, what its layer is to become.

    Returns:
        Those options whose masks stand in another order now.
    """
    found: dict[str, MaskOption] = {}
    for places in _groups(coupling):
        own = _in(model, places)
        sides = _sides(places, options)
        if own is None or not sides:
            continue
        held = {side.weight: found.get(side.weight, options[side.weight]) for side in sides}
        wishes = [held[side.weight].wish(side.axis) for side in sides]
        tries = [(order, _applied(held, sides, order)) for order in wishes if order is not None]
        before = sum(option.moving for option in held.values())
        order, best = min(tries, key=lambda found: _moving(found[1]), default=(None, held))
        if order is not None and _moving(best) < before:
            for place in own:
                move(place, order)
            found |= best
    return found


def _moving(options: Mapping[str, MaskOption]) -> float:
    return sum(option.moving for option in options.values())


def _applied(held: Mapping[str, MaskOption], sides: Sequence[_Side], order: Order) -> dict[str, MaskOption]:
    """The options with this order on each side; a layer may hold a group on both."""
    found = dict(held)
    for side in sides:
        found[side.weight] = found[side.weight].reordered(side.axis, order)
    return found


def _groups(coupling: Coupling) -> Iterable[list[GroupPlace]]:
    """Where the groups lie that can be reordered."""
    holders = Holders(coupling)
    for member in group(coupling):
        # Residual blocks have no slots, and are no channels.
        if member.slots and (places := holders.places(member)):
            yield places


def _sides(places: Sequence[GroupPlace], weights: Mapping[str, object]) -> list[_Side]:
    """The axes that a group fills alone, of these weights."""
    named = [(str(place.value.name), place) for place in places]
    return [
        _Side(name, place.axis)
        for name, place in named
        # Part of an axis, as behind a Concat, would have to be ordered with the rest of it.
        if name in weights and place.axis in (OUTPUTS, INPUTS) and _alone(place)
    ]


def _alone(place: GroupPlace) -> bool:
    """Do the units of the group fill the axis, one position each?"""
    assert place.value.shape is not None
    return (place.each, place.units) == (1, int(place.value.shape.numpy()[place.axis]))


def _in(model: ir.Model, places: Sequence[GroupPlace]) -> list[GroupPlace] | None:
    """The same places in the graph that was copied; None where preparation merged or dropped one of them."""
    found = []
    for place in places:
        value = model.graph.initializers.get(str(place.value.name))
        # An initializer that took over for an equal one belongs to other channels too.
        if value is None or len(value.uses()) != len(place.value.uses()):
            return None
        found.append(replace(place, value=value))
    return found


def _name(layer: CandidateLayer) -> str:
    return str(layer.view.layer.weight.initializer.name)
