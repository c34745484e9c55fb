"""How many multiply-accumulates a node costs, from the axes of its signature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

from compressor.channels.coupling import Unexplained
from compressor.operators.signature import Group, Item, Shape, Signature, items

Ranks = tuple[int | None, ...]
Place = tuple[bool, int, int]
"""Is it an output; which input or output; which axis."""
Product = tuple[tuple[Place, ...], ...]
"""Factors, each the size at any of its places; the largest counts, since an axis of 1 may be broadcast."""


def macs(
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
    products = _products(text, work, factors, _ranks(inputs), _ranks(outputs))
    sides = (inputs, outputs)
    return sum(
        prod(max((sides[side][k] or ())[axis] for side, k, axis in places) for places in product)
        for product in products
    )


def _ranks(shapes: Sequence[Shape | None]) -> Ranks:
    return tuple(None if s is None else len(s) for s in shapes)


@lru_cache(maxsize=4096)
def _products(
    text: str, work: str, factors: tuple[int, ...] | range, inputs: Ranks, outputs: Ranks
) -> tuple[Product, ...]:
    signature = Signature.parse(text)
    places: dict[Group, list[Place]] = {}
    held: list[Group] = []
    widest = _stars(signature, inputs, outputs)
    for index, rank in enumerate(inputs):
        own = signature.operand(index)
        for axis, group in enumerate(_groups(own, rank, widest) if own is not None and rank is not None else ()):
            places.setdefault(group, []).append((False, index, axis))
            held += [group] if index in factors else []
    made = _groups(signature.outputs[0], outputs[0], widest) if outputs and outputs[0] is not None else []
    for axis, group in enumerate(made):
        places.setdefault(group, []).append((True, 0, axis))
    if work:
        return tuple(_written(part.strip(), places) for part in work.split("+"))
    names = {n for group in made for n in group}
    summed = [group for group in dict.fromkeys(held) if not names.issuperset(group)]
    return (tuple(tuple(places[group]) for group in (*made, *summed)),)


def _stars(signature: Signature, inputs: Ranks, outputs: Ranks) -> dict[str, int]:
    found: dict[str, int] = {}
    operands = [(signature.operand(k), rank) for k, rank in enumerate(inputs)]
    for own, rank in (*operands, *zip(signature.outputs, outputs, strict=False)):
        star = next((i.names[0] for i in own or () if i.star), None)
        if star is not None and own is not None and rank is not None:
            found[star] = max(found.get(star, 0), rank - len(own) + 1)
    return found


def _groups(own: tuple[Item, ...], rank: int | None, widest: dict[str, int]) -> list[Group]:
    found: list[Group] = []
    for item in own:
        star = item.names[0]
        last, spare = widest.get(star, 0), (rank or 0) - len(own) + 1
        found += [(f"{star}{k}",) for k in range(last - spare, last)] if item.star else [item.names]
    if len(found) != rank:
        raise Unexplained("has another number of axes than its signature")
    return found


def _written(text: str, places: dict[Group, list[Place]]) -> Product:
    found: list[tuple[Place, ...]] = []
    for item in items(text):
        star = item.names[0]
        if item.star:
            groups = [g for g in places if len(g) == 1 and g[0].startswith(star) and g[0][len(star) :].isdigit()]
            found += [tuple(places[g]) for g in groups]
        else:
            found.append(tuple(places[item.names]))
    return tuple(found)
