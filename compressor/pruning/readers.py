"""Where units are read: the slots whose gradient is the gate's, and the values that readers take them from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.groups import Slot, activation_uses, slots_of
from compressor.channels.labels import Term, UnitArray


def gates(coupling: Coupling, slots: Sequence[Slot]) -> list[tuple[Slot, UnitArray]]:
    """Each slot with the units whose gate multiplies it: int64 of the shape of its term's units; 0 where none does.

    To close a gate is to zero what the readers see, so the slots are those that contract a unit. A unit that no
    weight contracts (queries and keys, which meet each other) is gated where it is written: filters and what is
    added to them.
    """
    # First all units that some weight contracts, since a slot that writes a unit gates it only if none does.
    read = np.zeros(len(coupling.units), np.bool_)
    for slot in slots:
        if slot.role == "in":
            read[coupling.units.find(slot.term.units)] = True
    listed = []
    for slot in slots:
        units = coupling.units.find(slot.term.units)
        if slot.role != "in":
            units = np.where(read[units], 0, units)
        if units.any():
            listed.append((slot, units))
    return listed


@dataclass(frozen=True)
class Reading:
    """A value as one weight reads it.

    Attributes:
        slot: the weight's axis.
        value: an activation.
        terms: those of the value that share units with the slot.
    """

    slot: Slot
    value: ir.Value
    terms: tuple[Term[int], ...]


def readings(coupling: Coupling) -> list[Reading]:
    """Every weight that reads units, with the activations it reads them from.

    Units that no weight reads count where they are written: at the output of the node that holds their filters.
    """
    listed = []
    for slot, units in gates(coupling, slots_of(coupling)):
        wanted = np.unique(units)
        for value in _values(coupling, slot, wanted[wanted > 0]):
            terms = tuple(t for t in coupling.layout(value) if np.isin(t.units, wanted[wanted > 0]).any())
            listed.append(Reading(slot, value, terms))
    return listed


def _values(coupling: Coupling, slot: Slot, wanted: UnitArray) -> list[ir.Value]:
    values: dict[ir.Value, None] = {}
    for node, path in activation_uses(slot.value):
        # ``path`` is the weight as the node sees it, maybe moved on the way; the other operands are activations.
        operands = [v for v in node.inputs if v is not None and v is not path and not v.is_initializer()]
        # Preferably what goes in. A node may read the units through a value without labels; then what it makes counts.
        sides = (operands, node.outputs) if slot.role == "in" else (node.outputs,)
        for side in sides:
            holders = [v for v in side if _holds(coupling, v, wanted)]
            values |= dict.fromkeys(holders)
            if holders:
                break
    return list(values)


def _holds(coupling: Coupling, value: ir.Value, wanted: UnitArray) -> bool:
    # Optional outputs that are left out have no name, and nothing can be tapped there.
    if value.name == "" or coupling.shapes(value) is None:
        return False
    return any(np.isin(t.units, wanted).any() for t in coupling.layout(value))
