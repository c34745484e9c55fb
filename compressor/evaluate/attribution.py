"""Time by node of the graph, from the time of what a runtime made of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def attributed(times: Mapping[str, float], owner: Mapping[str, str]) -> dict[str, float]:
    """Time by operator: what ran has the name of a node, or holds one of a node or value; else it made way for what
    ran before it, as a change of layout does.

    Args:
        times: by the name of what ran, in the order in which it ran.
        owner: the operator for every name of a node and of what it writes.
    """
    found: dict[str, float] = {}
    # What runs before anything that is known, such as a change of layout of the input, counts for the first operator.
    last = next(iter(owner.values()))
    for name, share in times.items():
        # A fused kernel has a name made of those that it fused; one that the runtime put in has none of them.
        last = owner.get(name) or owner.get(_longest(name, owner), last)
        found[last] = found.get(last, 0.0) + share
    return found


def _longest(name: str, known: Iterable[str]) -> str:
    """The longest of ``known`` that stands in ``name`` by itself."""
    return max((one for one in known if one and _stands_in(one, name)), key=len, default="")


def _stands_in(one: str, name: str) -> bool:
    at = name.find(one)
    while at >= 0:
        # Otherwise "conv1" would be found in "conv10". At the start, ``name[-1:0]`` is empty, which is no letter.
        if not name[at - 1 : at].isalnum() and not name[at + len(one) : at + len(one) + 1].isalnum():
            return True
        at = name.find(one, at + 1)
    return False
