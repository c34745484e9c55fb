"""Sizes of samples where a model leaves them open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

import onnx_ir as ir

from compressor.data.synthetic.kinds import InputKind, Kind, kinds_of
from compressor.errors import ModelError
from compressor.graph.binding import Shape
from compressor.graph.shapes import Shapes, infer

PREFERRED: Mapping[Kind, int] = MappingProxyType({Kind.IMAGE: 224, Kind.TOKENS: 64, Kind.CACHE: 16})
"""What a side of an image, a sequence and a cache measure where nothing tells."""
SHORTER = (64, 48, 32, 24, 20, 18, 17)
"""Positions that are tried where the graph has no room for more, with what is in a cache."""


def sample_shapes(
    model: ir.Model,
    shapes: Mapping[str, Shape] | None,
    dims: Mapping[str, int] | None,
    longest: int | None = None,
) -> Shapes:
    """Shapes of ``model`` for samples: open sizes are those of usual data, if the graph takes them.

    Shape inference on its own makes do with small sizes that tell axes apart; images of such a size say little about
    a network.

    Args:
        model: normalised; not changed.
        shapes: shape by input, as the user gave them.
        dims: size by symbolic dimension, as the user gave them.
        longest: positions that a sequence may have with what is cached before it; None where nothing bounds them.

    Raises:
        ModelError: an input has no rank, a name is unknown, or no size that was tried fits the graph.
        UsageError: an input that samples cannot fill or no generator fits.
    """
    found = infer(model, shapes, dims)
    open_kinds = [kind for kind in kinds_of(model, found) if kind.name not in (shapes or {})]
    limits = [] if longest is None else [longest]
    tried: list[dict[str, int]] = []
    # Positions that are counted inside the graph may run out of a table that nothing else tells of.
    for most in ([], *([length] for length in SHORTER)):
        wanted = _wanted(model, open_kinds, limits + most)
        # What the user said stays.
        wanted = {symbol: size for symbol, size in wanted.items() if symbol not in (dims or {})}
        if not wanted or wanted in tried:
            continue
        tried.append(wanted)
        # Usual sizes that the graph does not take, such as those fixed further inside, are given up together.
        with suppress(ModelError):
            made = infer(model, shapes, {**wanted, **(dims or {})})
            if made.within(made.inputs):
                return made
    return found


def left_open(
    model: ir.Model, made: Shapes, shapes: Mapping[str, Shape] | None, dims: Mapping[str, int] | None
) -> dict[str, int]:
    """Sizes of samples that neither the model nor the user tells, by symbol, or by axis of an input where it has none.

    Args:
        model: normalised.
        made: shapes of the samples, as of :func:`sample_shapes`.
        shapes: as there.
        dims: as there.
    """
    found: dict[str, int] = {}
    for value in model.graph.inputs:
        name = str(value.name)
        if value.is_initializer() or name in (shapes or {}):
            continue
        for axis, dim in enumerate(value.shape or ()):
            # The first axis is that of samples.
            if axis and isinstance(dim, ir.SymbolicDim) and dim.value not in (dims or {}):
                found[dim.value or f"axis {axis} of {name}"] = made.inputs[name][axis]
    return found


def _wanted(model: ir.Model, kinds: Sequence[InputKind], limits: Sequence[int]) -> dict[str, int]:
    """Size by symbol. With a cache, what is in it counts among the positions that tables and masks have room for."""
    past = PREFERRED[Kind.CACHE] if any(kind.kind == Kind.CACHE and _open(model, kind) for kind in kinds) else 0
    tables = [kind.use.table for kind in kinds if kind.kind == Kind.POSITIONS and kind.use.table is not None]
    tables += limits
    # Positions behind the past must still be in the table.
    length = max(1, min([PREFERRED[Kind.TOKENS], *(table - past for table in tables)]))
    wanted: dict[str, int] = {}
    for kind in kinds:
        if kind.kind == Kind.IMAGE:
            wanted |= dict.fromkeys(_open(model, kind), PREFERRED[Kind.IMAGE])
        elif kind.kind == Kind.TOKENS:
            wanted |= dict.fromkeys(_open(model, kind), length)
        elif kind.kind == Kind.CACHE:
            wanted |= dict.fromkeys(_open(model, kind), past)
    for kind in kinds:
        if kind.kind == Kind.MASK and past:
            # A mask covers the past as well.
            wanted |= {symbol: past + length for symbol in _open(model, kind) if symbol not in wanted}
    return wanted


def _open(model: ir.Model, kind: InputKind) -> list[str]:
    """Symbols of an input's open sizes, but those of the axis of samples and of channels."""
    value = next(v for v in model.graph.inputs if v.name == kind.name)
    skipped = {0} if kind.channel_axis is None else {0, kind.channel_axis + 1}
    dims = [dim for axis, dim in enumerate(value.shape or ()) if axis not in skipped]
    return [str(dim.value) for dim in dims if isinstance(dim, ir.SymbolicDim) and dim.value is not None]
