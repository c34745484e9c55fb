"""Runs of models that are wrong on purpose: how many may be made, and whether a standard notices them.

What is wrong in them, a cut or a layer, is their makers' affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import onnx_ir as ir

from compressor.errors import ModelError
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.runtime.outputs import giving
from compressor.runtime.stored import Answers, Feed

WrongKind = TypeVar("WrongKind")

EFFORT = 2 * 10**9
"""Multiply-accumulates, or what takes as long, that may be spent on wrong cuts: about two tenths of a second."""
NODE_EFFORT, PARAMETER_EFFORT = 5 * 10**6, 30
"""What a node costs when a session is made, and a parameter that is written and read, in multiply-accumulates."""


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


def is_noticed(wrong: ir.Model, standard: Standard, folder: Path, provider: str, *, whole: bool = False) -> bool:
    """Does a wrong model fail at an output?

    Args:
        wrong: the model.
        standard: what it would have to give.
        folder: where files may be put.
        provider: where it is run.
        whole: only whole numbers were made wrong, such as positions, so that a model that does not run shows it. Other
            floats are none that a runtime refuses: where the model does not run then, nothing is seen.
    """
    try:
        return _differs(wrong, standard, folder, provider)
    except ModelError:
        return whole


def _differs(model: ir.Model, standard: Standard, folder: Path, provider: str) -> bool:
    ready, feeds = runnable(model, folder, provider).open(), standard.runs.feeds
    # Most faults show at once, so the cheapest inputs come first.
    order = sorted(range(len(feeds)), key=lambda k: sum(array.size for array in feeds[k].values()))
    return any(not standard.only(k).met_by(ready.run([feeds[k]])) for k in order)


def affordable(count: int, graph: ir.Graph, macs: int = 0) -> int:
    """Of how many, out of ``count``, each is cut wrongly in a run of its own; one more run is for all others at once.

    Halving those that were noticed together would take more runs to come to the same: each by itself.

    Args:
        count: groups or layers.
        graph: what is run, for its nodes and weights.
        macs: what one run takes besides.
    """
    # Effort is estimated beforehand: in a large model a session for each group would take longer than the whole run.
    tensors = [v.const_value for v in graph.initializers.values() if v.const_value is not None]
    effort = NODE_EFFORT * graph.num_nodes() + PARAMETER_EFFORT * sum(int(t.size) for t in tensors) + macs
    runs = EFFORT // max(1, effort)
    return count if count <= runs else max(0, runs - 1)


def values_inside(model: ir.Model, names: Sequence[str], feeds: Sequence[Feed], folder: Path, provider: str) -> Answers:
    """The values of these names that the model computes inside, for each feed; files are put in ``folder``.

    Unlike :func:`compressor.runtime.taps.tap` it runs a model that does not fit, piece by piece.
    """
    return Answers.of(runnable(giving(model, names), folder, provider), feeds)
