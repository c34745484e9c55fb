"""Channel groups: units that are held by the same axes of the same weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.labels import Reason, Role, Term, UnitArray
from compressor.channels.node_operands import NamedOperand
from compressor.channels.residual import DEPTH, ResidualBlock
from compressor.graph.ir.exporter_metadata import readable
from compressor.graph.ir.nodes import QUANTISED_BEFORE, mostly_codes

MATRIX = 2
"""Axes longer than 1 of the smallest weight that can hold filters."""
KEEPS_CHANNELS = "unify or quantize make a model smaller that keeps its channels"


@dataclass(frozen=True)
class Slot:
    """One place in one initializer that holds units.

    Attributes:
        value: the initializer.
        term: units along its axes, canonical.
        role: what these axes do.
    """

    value: ir.Value
    term: Term[int]
    role: Role

    @property
    def label(self) -> str:
        """``initializer:axis`` as reports show it."""
        return f"{self.value.name}:{'x'.join(map(str, self.term.axes))}"


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Units with the same signature of weight axes.

    Attributes:
        name: the initializer that holds the filters, or the module that reads it where its own name says nothing of
            where it is (:func:`~compressor.graph.ir.exporter_metadata.readable`); with a suffix where that names
            several groups.
        units: int64[n], representatives, in the order of their first position.
        slots: where they live; the first is the one that gives the name.
        width: positions that one unit takes in the first slot (a head of 64 dimensions: 64).
        blocks: what the units stand for in the group of residual blocks, which has no slots; see
            :mod:`compressor.pruning.cut.depth`.
    """

    name: str
    units: UnitArray
    slots: tuple[Slot, ...]
    width: int
    blocks: tuple[ResidualBlock, ...] = ()

    @property
    def widest(self) -> int:
        """Positions that one unit takes in the slot with filters where it takes most: those of a head's queries, where
        the first slot is a table with one bias a head. Multiples are about these."""
        places = [np.isin(slot.term.units, self.units).sum() for slot in self.slots if slot.role == "out"]
        most = int(max(places, default=0))
        return max(self.width, most // len(self.units) if most % len(self.units) == 0 else 1)

    @property
    def counts(self) -> int:
        """Channels that one unit counts as: its positions in the first slot.

        A weight that makes units and reads them, as that of a recurrent layer does, says how many they are: its gates
        hold a unit several times, and read it once.
        """
        makers = {slot.value for slot in self.slots if slot.role == "out"}
        own = [slot.term.units for slot in self.slots if slot.role == "in" and slot.value in makers]
        read = [int(np.isin(units, self.units).sum()) // len(self.units) for units in own]
        return min([self.width, *(each for each in read if each)])

    @property
    def channels(self) -> int:
        """How many its units count as; of residual blocks their number."""
        return len(self.units) * self.counts

    @property
    def names(self) -> list[str]:
        """What globs match: the group's name, the weights that hold or follow its filters, and their nodes."""
        found = {self.name: None}
        for slot in self.slots:
            if slot.role != "in":
                found |= {readable(slot.value): None, str(slot.value.name): None}
                found |= {str(node.name): None for node, _ in slot.value.uses()}
        return list(found)


@dataclass(frozen=True)
class Blocked:
    """An axis of a weight, or part of it, that cannot be pruned, and why.

    Attributes:
        label: what reports call the initializer, ``:``, the axis; ``?`` where it is not known which axis holds filters.
        channels: positions of the axis that stay; 0 where the axis is not known.
        reason: the fact that stopped them.
        elements: of the initializer, that lie at these positions.
    """

    label: str
    channels: int
    reason: Reason
    elements: int


def slots_of(coupling: Coupling) -> list[Slot]:
    """Every labelled axis of every initializer, in the order of the graph's initializers."""
    found = []
    for value in coupling.graph.initializers.values():
        deferred = coupling.deferred_labels.get(value)
        if deferred is None:
            continue
        for term in coupling.layout(value, assign_fresh=False):
            found.append(Slot(value, term, role(coupling, value, term)))
    return found


def activation_uses(value: ir.Value) -> Iterator[tuple[ir.Node, ir.Value]]:
    """The nodes where a weight meets an activation, and what they know it by: it may be moved or unpacked first."""
    for node, _ in value.uses():
        met = any(v is not None and v is not value and not v.is_initializer() for v in node.inputs)
        if met or len(node.outputs) != 1:
            yield node, value
        else:
            yield from activation_uses(node.outputs[0])


def role(coupling: Coupling, value: ir.Value, term: Term[int]) -> Role:
    """What ``term`` of a weight does where the weight meets an activation.

    A weight may meet activations only behind nodes that move or unpack it. What is spread over more than it holds
    on the way (the scale of a quantised weight) follows that.
    """
    deferred, found = coupling.deferred_labels[value], list(activation_uses(value))
    # A weight that some node meets as it is has its role from there.
    for node, known in found if all(known is not value for _, known in found) else ():
        met = coupling.node_operands.get(node)
        for part in met.parts if met is not None else ():
            names = _names(coupling, value, term, part) if part.value is known else set()
            if met is None or not names:
                continue
            # Nothing of it is summed, or it is spread over more than it holds: it scales an activation or another
            # weight.
            if not set(part.names) - met.kept or prod(deferred.shape) < prod(coupling.shapes(known) or ()):
                return "affine"
            return "out" if names & met.kept else "in"
    return deferred.roles.get(term.axes[-1], "affine")


def _names(coupling: Coupling, value: ir.Value, term: Term[int], part: NamedOperand) -> set[str]:
    """Names under which a node meets the axes of ``term`` in ``part``; empty where that is not known.

    They are found by the units, or by place where all units are frozen and the shape is still that of the weight.
    """
    units = np.unique(coupling.units.find(term.units))
    # All frozen units are the same unit 0, which therefore does not distinguish places.
    held = [t for t in part.terms if np.isin(coupling.units.find(t.units), units[units > 0]).any()]
    if held:
        return set(held[0].axes)
    shape = coupling.deferred_labels[value].shape
    long = [axis for axis, size in enumerate(shape) if size > 1]
    if shape != coupling.shapes(part.value) or len(long) != len(part.names):
        return set()
    return {part.names[long.index(axis)] for axis in term.axes if axis in long}


def group(coupling: Coupling) -> list[ChannelGroup]:
    """Groups of the coupling, in the order of their first weight; that of the residual blocks last."""
    slots = slots_of(coupling)
    # The weight that holds the filters gives the name; a bias or scale only where there is no kernel at all.
    rank: dict[Role, int] = {"out": 0, "affine": 2, "in": 1}
    order = sorted(range(len(slots)), key=lambda k: rank[slots[k].role])
    holders: dict[int, list[int]] = {}
    for index in order:
        roots = slots[index].term.units.ravel()
        unique, first = np.unique(roots, return_index=True)
        # In the order of first positions, so that order and names do not depend on numbers of units.
        for unit in unique[np.argsort(first)].tolist():
            if unit:
                holders.setdefault(unit, []).append(index)
    members: dict[tuple[int, ...], list[int]] = {}
    for unit, places in holders.items():
        members.setdefault(tuple(places), []).append(unit)
    ordered = sorted(members.items(), key=lambda item: (item[0][0], item[1][0]))
    found = _named([(np.asarray(units, np.int64), [slots[k] for k in places]) for places, units in ordered])
    blocks = coupling.blocks
    if blocks:
        found.append(ChannelGroup(DEPTH, np.asarray([b.unit for b in blocks], np.int64), (), 1, blocks))
    return found


def _named(found: Sequence[tuple[UnitArray, list[Slot]]]) -> list[ChannelGroup]:
    taken: dict[str, int] = {}
    groups = []
    for units, slots in found:
        name = readable(slots[0].value)
        count = taken[name] = taken.get(name, 0) + 1
        places = int(np.isin(slots[0].term.units, units).sum())
        # Units of different widths: there is no width of one unit, so a unit counts as one.
        if places % len(units):
            places = len(units)
        groups.append(
            ChannelGroup(name if count == 1 else f"{name}#{count}", units, tuple(slots), places // len(units))
        )
    return groups


def blocked(coupling: Coupling) -> list[Blocked]:
    """Filters that cannot be pruned, with the fact that stopped them; largest first."""
    found = []
    for value, deferred in coupling.deferred_labels.items():
        # Mere copies hold no weights.
        if deferred.broadcast:
            continue
        # As they were given, since canonical terms leave frozen ones out.
        for term in deferred.terms:
            if role(coupling, value, term) != "out":
                continue
            units = coupling.units.find(term.units)
            frozen = term.units[units == 0]
            if not frozen.size:
                continue
            label, each = f"{readable(value)}:{'x'.join(map(str, term.axes))}", prod(deferred.shape) // term.units.size
            for freeze, count in coupling.units.cause(frozen):
                found.append(Blocked(label, count, freeze.reason, count * each))
    found += _unexplained(coupling)
    return sorted(found, key=lambda b: -b.channels)


def no_group(coupling: Coupling) -> str:
    """What is said of a model without groups: the fact that stops most of its weights, and where it first does."""
    stopped: dict[str, list[Blocked]] = {}
    for row in blocked(coupling):
        stopped.setdefault(row.reason.reason, []).append(row)
    most = max(stopped.values(), key=lambda rows: sum(row.elements for row in rows), default=[])
    # Outputs of the model stop channels at no node.
    why = [f" (most stop at {(r.node or r.value)!r}: {r.reason})" for r in [row.reason for row in most[:1]]]
    remedy = QUANTISED_BEFORE if mostly_codes(coupling.graph) else KEEPS_CHANNELS
    return f"no channel of this model can be removed{''.join(why)}; {remedy}"


def _unexplained(coupling: Coupling) -> Iterator[Blocked]:
    """Weights that only nodes without a usable rule read: which of their axes hold filters is not known."""
    for value, deferred in coupling.deferred_labels.items():
        # A vector may be no kernel; where a node that is not understood reads only that, no filters are blocked.
        if deferred.terms or not value.is_initializer() or sum(size > 1 for size in deferred.shape) < MATRIX:
            continue
        for node, _ in value.uses():
            if node in coupling.opaque:
                reason = coupling.reason(node, None, (), coupling.opaque[node])
                yield Blocked(f"{readable(value)}:?", 0, reason, prod(deferred.shape))
                break
