"""Patterns of names: do those that the user gave match anything in the model?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

import onnx_ir as ir

from compressor.channels.groups import group
from compressor.channels.residual import DEPTH
from compressor.config import PruneSettings
from compressor.core.formatting import printable
from compressor.core.globs import any_match
from compressor.errors import UsageError
from compressor.graph.ir.exporter_metadata import readable
from compressor.pruning.cut.analysis import Analysis

SEARCHED = 5000
"""Names among which the nearest are looked for."""


def demand_matches(settings: PruneSettings, source: ir.Model, analysis: Analysis) -> None:
    """Every pattern of ``include``, ``exclude`` and ``layer_ratio`` matches a group, or a node or a weight of the model
    as given or as prepared, as users know names of either.

    What it matches may have to stay all the same; a pattern that matches nothing is a slip of the pen.

    Raises:
        UsageError: one does not; the message names what is called most like it.
    """
    given = [("--include", glob) for glob in settings.include]
    given += [("--exclude", glob) for glob in settings.exclude]
    given += [("--layer-ratio", glob) for glob, _ in settings.layer_ratio]
    if not given:
        return
    # Groups last: of several in one weight all but the first have names of their own.
    groups = [DEPTH] if settings.depth else []
    groups += [member.name for member in group(analysis.coupling)]
    names = list(dict.fromkeys([*_names(source), *_names(analysis.model), *groups]))
    for field, glob in given:
        if not any_match(names, [glob]):
            raise UsageError(f"{field} {glob!r} matches no node, no weight and no group; {nearest(glob, names)}")


def _names(model: ir.Model) -> Iterable[str]:
    for node in model.graph.all_nodes():
        yield str(node.name)
    for value in model.graph.initializers.values():
        # A weight also answers to the name that it has in the framework it came from; a dict yields equal names once.
        yield from {str(value.name): None, readable(value): None}


def nearest(glob: str, names: Iterable[str]) -> str:
    """The end of a sentence on a pattern that matches nothing: what is called most like it."""
    # Names that contain the word say more than those that look like it, so likeness comes second.
    word = glob.strip("*?")
    some = [name for name in islice(names, SEARCHED) if name]
    inside = [name for name in some if word and word.lower() in name.lower()]
    near = inside[:3] or difflib.get_close_matches(word, some, n=3, cutoff=0.3)
    return f"the nearest are {', '.join(repr(printable(name)) for name in near)}" if near else "check the pattern"
