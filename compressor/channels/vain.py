"""Units that were brought in vain: all of them turned out to be frozen, and what met them on the way is merged.

A frequency of rotary positions, say, is the same in all heads. Where it brings channels of its own, heads of queries
and keys keep the same dimensions; where keys stay, as a cache holds them, nothing of the queries can go then. Started
anew without these units, whole heads of the queries can. Coordinates of a box, which all stay, make offsets of sampling
points the same in all heads, and what is sampled there has to keep all of its heads.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

import onnx_ir as ir

from compressor.channels.labels import UnitArray, Units
from compressor.graph.sizes.known import initializer_of

NO_AXIS = -1
"""Stands for the axis of units inside a value that are no axis of it."""
UnitAxis = tuple[ir.Value, int]
"""A value and the axis along which it brought units."""


def in_vain(fresh: Mapping[UnitAxis, UnitArray], units: Units, closed: Collection[UnitAxis]) -> set[UnitAxis]:
    """Places whose units are all frozen, of one kind. The coupling starts over without them, which may free others.

    What is returned is the first of these kinds that has any:

    1. Vectors of the file, which bring one unit for each of their numbers.
    2. Axes of matrices of the file whose units had others merged into them before they were frozen; other matrices are
       left alone.
    3. The same, where they were frozen because another operand has nothing to remove there. They come later, as that
       operand may itself have lost its units to a place of the first two kinds.
    4. Units that stand inside a value along no axis of it. The coupling starts over for these once, and without those
       that were frozen first, as they may have frozen the rest.

    Args:
        fresh: all units that were brought.
        units: knows which are frozen, and by which others were merged.
        closed: what was found in vain before, and brings nothing any more.
    """
    vectors, copies = set(), list[tuple[int, UnitAxis]]()
    matrices: dict[bool, set[UnitAxis]] = {False: set(), True: set()}
    blamed = {int(unit) for own in units.merging if units.stopped_at(own) is not None for unit in own.ravel()}
    for (value, axis), own in fresh.items():
        stopped = units.stopped_at(own)
        tensor = initializer_of(value)
        # Rules may bring units all the same; starting anew a second time would end in the same place, and never stop.
        if stopped is None or (value, axis) in closed:
            continue
        # A vector brings one unit for every number of it; a matrix may have channels on another axis.
        if tensor is not None and own.size == prod(tensor.shape.numpy()):
            vectors.add((value, axis))
        elif tensor is not None and not blamed.isdisjoint(own.tolist()):
            matrices[units.freezes[stopped].reason.unmatched].add((value, axis))
        elif axis == NO_AXIS and not value.is_initializer():
            copies.append((stopped, (value, axis)))
    # One kind at a time: the coupling starts over after each, and what was frozen may be free then.
    for found in (vectors, matrices[False], matrices[True]):
        if found:
            return found
    if any(axis == NO_AXIS for _, axis in closed):
        return set()
    first = min((stopped for stopped, _ in copies), default=0)
    return {place for stopped, place in copies if stopped == first}
