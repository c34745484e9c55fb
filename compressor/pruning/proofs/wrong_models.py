"""Runs of models that are wrong on purpose: whether a standard notices them.

What is wrong in them, a cut or a layer, is their makers' affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import onnx_ir as ir

from compressor.errors import ModelError
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.pruning.proofs.versions import Versions, affordable
from compressor.runtime.outputs import giving
from compressor.runtime.stored import Answers, Feed, Ready, smallest_first

WrongKind = TypeVar("WrongKind")

WORTH_SHARING = 3
"""Versions from which on one session for all, and a run with the right weights, cost less than a session each."""


@dataclass(frozen=True)
class Parted(Generic[WrongKind]):
    """What outputs show of wrong groups, or layers, that were tried in parts.

    Attributes:
        count: of wrong models that were noticed.
        together: what was noticed along with others, and not by itself.
        blind: what no output shows.
    """

    count: int
    together: list[WrongKind]
    blind: list[WrongKind]


def in_parts(
    items: Sequence[WrongKind], weight_of: Callable[[WrongKind], str], alone: int
) -> Iterator[Sequence[WrongKind]]:
    """Groups, or layers, that are made wrong together: the first ``alone`` each by itself, and the rest at once.

    Those in one weight are never together, as one would take back what the other shifted.

    Args:
        items: all of them.
        weight_of: the name of the weight that is made wrong for one.
        alone: how many are tried by themselves.
    """
    yield from ([item] for item in items[:alone])
    part: dict[str, WrongKind] = {}
    for item in items[alone:]:
        name = weight_of(item)
        # Its weight is in this part already, so a new part begins.
        if name in part:
            yield list(part.values())
            part = {}
        part[name] = item
    if part:
        yield list(part.values())


def tried_in_parts(
    parts: Iterable[Sequence[WrongKind]], seen: Callable[[Sequence[WrongKind]], bool]
) -> Parted[WrongKind]:
    """Makes each part wrong as a whole, and its members one by one where that is not ``seen``."""
    count, together, blind = 0, list[WrongKind](), list[WrongKind]()
    for part in parts:
        if seen(part):
            count += 1
            # Which of them was noticed is not known: one may hide others, so that none is claimed to be.
            together += part if len(part) > 1 else []
            continue
        for member in part:
            if len(part) > 1 and seen([member]):
                count += 1
            else:
                blind.append(member)
    return Parted(count, together, blind)


def is_noticed(opened: Callable[[], Ready], standard: Standard, *, whole: bool = False) -> bool:
    """Does a wrong model fail at an output?

    Args:
        opened: makes the model ready to run; may raise ModelError.
        standard: what it would have to give.
        whole: only whole numbers were made wrong, such as positions, so that a model that does not run shows it. Other
            floats are none that a runtime refuses: where the model does not run then, nothing is seen.
    """
    feeds = standard.runs.feeds
    try:
        ready = opened()
        # Most faults show on any of them.
        return any(not standard.only(k).met_by(ready.run([feeds[k]])) for k in smallest_first(feeds))
    except ModelError:
        return whole


def sharing(versions: Versions, names: Sequence[str], standard: Standard, macs: int = 0) -> Versions:
    """The same with one session for versions that differ in these weights, where that pays and where it can be.

    Args:
        versions: each with a session of its own.
        names: of weights.
        standard: that session has to meet it with the right weights, or it would cry for nothing.
        macs: multiply-accumulates of a run.
    """
    if affordable(len(names), versions.model, macs, shared=True) < WORTH_SHARING:
        return versions
    least = standard.only(smallest_first(standard.runs.feeds)[0])
    return versions.in_one_session(names, lambda right: not is_noticed(lambda: right, least, whole=True))


def values_inside(model: ir.Model, names: Sequence[str], feeds: Sequence[Feed], folder: Path, provider: str) -> Answers:
    """The values of these names that the model computes inside, for each feed; files are put in ``folder``.

    Unlike :func:`compressor.runtime.taps.tap` it runs a model that does not fit, piece by piece.
    """
    return Answers.of(runnable(giving(model, names), folder, provider), feeds)
