"""How many multiply-accumulates a node costs, from the axes of its signature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from compressor.operators.signature import Group, Shape, Signature, expand, is_of, items, ranks

InputRanks = tuple[int | None, ...]
Place = tuple[bool, int, int]
"""Is it an output; which input or output; which axis."""
SizeProduct = tuple[tuple[Place, ...], ...]
"""Factors: each is the largest size at any of its places, since an axis of 1 may be broadcast; at the output alone
where that has the axis."""


def operator_macs(
    text: str,
    work: str,
    factors: tuple[int, ...] | range,
    inputs: Sequence[Shape | None],
    outputs: Sequence[Shape | None],
) -> int:
    """Multiply-accumulates of one run.

    Args:
        text: the signature.
        work: products of axes, as the signature names them, with ``+`` between several; empty: positions of the
            output times what is summed over.
        factors: inputs that are multiplied.
        inputs: shapes of the node's inputs; None: missing.
        outputs: shapes of its outputs.
    """
    total = 0
    for product in _products(text, work, factors, ranks(inputs), ranks(outputs)):
        part = 1
        for places in product:
            part *= max([((outputs if side else inputs)[k] or ())[axis] for side, k, axis in places])
        total += part
    return total


# A search for a target counts the nodes again at each candidate, at 25 us a node.
@lru_cache(maxsize=4096)
def _products(
    text: str, work: str, factors: tuple[int, ...] | range, inputs: InputRanks, outputs: InputRanks
) -> tuple[SizeProduct, ...]:
    given, made = expand(Signature.parse(text), inputs, outputs[:1])
    places: dict[Group, list[Place]] = {}
    for side, axes in ((False, given), (True, made)):
        for index, groups in axes.items():
            for axis, group in enumerate(groups):
                places.setdefault(group, []).append((side, index, axis))
    # Where the output has the axis its size counts, since an operand may have 1 there.
    for group in made.get(0, ()):
        places[group] = places[group][-1:]
    if work:
        return tuple(_written(part.strip(), places) for part in work.split("+"))
    result = made.get(0, ())
    names = {n for group in result for n in group}
    held = [group for index, groups in given.items() if index in factors for group in groups]
    summed = [group for group in dict.fromkeys(held) if not names.issuperset(group)]
    return (tuple(tuple(places[group]) for group in (*result, *summed)),)


def _written(text: str, places: dict[Group, list[Place]]) -> SizeProduct:
    found: list[tuple[Place, ...]] = []
    for item in items(text):
        if item.star:
            found += [tuple(at) for group, at in places.items() if len(group) == 1 and is_of(group[0], item.names[0])]
        else:
            found.append(tuple(places[item.names]))
    return tuple(found)
