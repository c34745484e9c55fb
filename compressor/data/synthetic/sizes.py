"""Sizes of samples where a model leaves them open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import ceil, prod
from types import MappingProxyType

import onnx_ir as ir

from compressor.data.kinds import InputKind, Kind, kinds_of
from compressor.data.synthetic.reach import reach_of
from compressor.errors import ModelError
from compressor.graph.sizes.binding import Shape
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.sizes import infer

PREFERRED: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.IMAGE: 224,
        Kind.VOLUME: 32,
        Kind.TOKENS: 64,
        Kind.FEATURES: 64,
        Kind.CACHE: 16,
        # Two periods of the lowest tone that is made up.
        Kind.WAVEFORM: 1000,
        Kind.SPECTROGRAM: 224,
    }
)
"""What a side of a volume, a sequence and a cache measure where nothing tells; images at most, and signals at least."""
LEAST_SIDE = 32
"""What a side of an image measures at least."""
PLACES = 8
"""Results of the layers with the longest stride along a side of an image: of 224 pixels mostly 7, of 32 mostly 8."""
SIGNAL_KINDS = (Kind.WAVEFORM, Kind.SPECTROGRAM, Kind.FEATURES)
"""Kinds whose length follows from what layers see of it."""
FIELDS = 4
"""Receptive fields of the layers in a signal, so that most results see no padding,"""
RESULTS = 32
"""and results of the layers with the longest stride, so that recurrences and attention have something to go by,"""
BUDGET = 224 * 224
"""but no more numbers than an image has pixels."""
SHORTER = (64, 48, 32, 24, 20, 18, 17)
"""Positions that are tried where the graph has no room for more, with what is in a cache."""
InputAxis = tuple[str, int]
"""An input and one of its axes."""
Wanted = Mapping[InputAxis, int]


def sample_shapes(
    model: ir.Model,
    shapes: Mapping[str, Shape] | None,
    dims: Mapping[str, int] | None,
    longest: int | None = None,
) -> Shapes:
    """Shapes of ``model`` for samples: open sizes are those of usual data, if the graph takes them.

    Shape inference on its own makes do with small sizes that tell axes apart; images and signals of such a size say
    little about a network.

    Args:
        model: normalised; not changed.
        shapes: shape by input, as the user gave them.
        dims: size by symbolic dimension, as the user gave them.
        longest: positions that a sequence may have with what is cached before it; None where nothing bounds them.

    Raises:
        ModelError: an input has no rank, a name is unknown, or no size that was tried fits the graph.
        UsageError: an input that samples cannot fill or no generator fits.
    """
    inferred = infer(model, shapes, dims)
    open_kinds = [kind for kind in kinds_of(model, inferred) if kind.name not in (shapes or {})]
    tried: list[Wanted] = []
    for wanted in _attempts(model, inferred, open_kinds, [] if longest is None else [longest]):
        # What the user said stays.
        asked = {place: size for place, size in wanted.items() if _symbol(model, place) not in (dims or {})}
        if not asked or asked in tried:
            continue
        tried.append(asked)
        # Usual sizes that the graph does not take, such as those fixed further inside, are given up together.
        with suppress(ModelError):
            made = infer(model, *_given(model, inferred, asked, shapes, dims))
            if made.within(made.inputs) and made.hollow <= inferred.hollow:
                return made
    return inferred


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


def _attempts(model: ir.Model, found: Shapes, kinds: Sequence[InputKind], limits: Sequence[int]) -> Iterator[Wanted]:
    """Sizes to try, the best first."""
    places = [(kind, _open(model, kind)) for kind in kinds]
    lengths = {p: _signal(model, found, kind, p) for kind, axes in places if kind.kind in SIGNAL_KINDS for p in axes}
    sides = {p: _side_of_image(model, found, p) for kind, axes in places if kind.kind == Kind.IMAGE for p in axes}
    # Positions that are counted inside the graph may run out of a table that nothing else tells of.
    rooms = [[*limits, *most] for most in ([], *([length] for length in SHORTER))]
    # Images of the size that layers suggest first, then usual ones.
    usual = [
        {**_wanted(model, places, lengths, room), **images}
        for images in ([sides, dict.fromkeys(sides, PREFERRED[Kind.IMAGE])] if sides else [sides])
        for room in rooms
    ]
    yield from usual
    # Where both probes have one size, the graph may well take no other.
    second = found.other_inputs
    yield from (
        {p: size for p, size in wanted.items() if second[p[0]][p[1]] != found.inputs[p[0]][p[1]]} for wanted in usual
    )
    # What divides the size of a probe, which the graph took, divides its multiples; images and texts keep the probe's.
    for wanted in usual:
        probes = {place: found.inputs[place[0]][place[1]] for place in wanted}
        yield {place: max(1, round(lengths.get(place, size) / size)) * size for place, size in probes.items()}


def _wanted(
    model: ir.Model, places: Sequence[tuple[InputKind, Sequence[InputAxis]]], lengths: Wanted, limits: Sequence[int]
) -> Wanted:
    """Size by place. With a cache, what is in it counts among the positions that tables and masks have room for."""
    past = PREFERRED[Kind.CACHE] if any(kind.kind == Kind.CACHE and axes for kind, axes in places) else 0
    tables = [kind.use.table for kind, _ in places if kind.kind == Kind.POSITIONS and kind.use.table is not None]
    tables += limits
    # Positions behind the past must still be in the table.
    length = max(1, min([PREFERRED[Kind.TOKENS], *(table - past for table in tables)]))
    wanted: dict[InputAxis, int] = {}
    for kind, axes in places:
        if kind.kind == Kind.FEATURES:
            wanted |= {place: min([lengths[place], *limits]) for place in axes}
        elif kind.kind in SIGNAL_KINDS:
            wanted |= {place: lengths[place] for place in axes}
        elif kind.kind in (Kind.TOKENS, Kind.CACHE):
            wanted |= dict.fromkeys(axes, length if kind.kind == Kind.TOKENS else past)
        elif kind.kind == Kind.VOLUME:
            wanted |= dict.fromkeys(axes, _side(kind, axes))
    taken = {_symbol(model, place) for place in wanted}
    for kind, axes in places:
        if kind.kind == Kind.MASK and past:
            # A mask covers the past as well.
            wanted |= {place: past + length for place in axes if _symbol(model, place) not in taken}
    return wanted


def _signal(model: ir.Model, found: Shapes, kind: InputKind, place: InputAxis) -> int:
    """How long a signal is: some receptive fields, and some results of the slowest layers, within bounds."""
    reach = reach_of(model, found, *place)
    wanted = max(PREFERRED[kind.kind], FIELDS * reach.extent, reach.extent + (RESULTS - 1) * reach.step)
    others = prod(size for axis, size in enumerate(kind.shape, start=1) if axis != place[1])
    length = max(reach.extent, min(wanted, max(BUDGET // max(others, 1), PREFERRED[kind.kind])))
    # Networks that join what they narrowed with what they did not take whole strides alone.
    return ceil(ceil(length / reach.step) * reach.step) if reach.step.is_integer() else ceil(length)


def _side_of_image(model: ir.Model, found: Shapes, place: InputAxis) -> int:
    """How long a side of an image is: as many results of the slowest layers as networks have on images of usual sizes.

    What layers leave out at borders comes on top, and the widest kernel has to fit, or its outer weights would see
    padding alone; but no more than a usual image.
    """
    reach = reach_of(model, found, *place)
    side = max(LEAST_SIDE, PLACES * reach.step + reach.lost, reach.window)
    return min(ceil(ceil(side / reach.step) * reach.step), PREFERRED[Kind.IMAGE])


def _side(kind: InputKind, places: Sequence[InputAxis]) -> int:
    """How long open sides of a volume are; those of a video with large frames are shorter."""
    sides = {axis for _, axis in places}
    fixed = prod(n for axis, n in enumerate(kind.shape) if axis + 1 not in sides and axis != kind.channel_axis)
    room = (BUDGET / max(fixed, 1)) ** (1 / max(len(sides), 1))
    return PREFERRED[Kind.VOLUME] if room >= PREFERRED[Kind.VOLUME] else PREFERRED[Kind.VOLUME] // 2


def _open(model: ir.Model, kind: InputKind) -> list[InputAxis]:
    """Axes of an input whose size is open, but those of samples and of channels."""
    value = next(v for v in model.graph.inputs if v.name == kind.name)
    skipped = {0} if kind.channel_axis is None else {0, kind.channel_axis + 1}
    return [
        (kind.name, axis)
        for axis, dim in enumerate(value.shape or ())
        if axis not in skipped and isinstance(dim, ir.SymbolicDim)
    ]


def _symbol(model: ir.Model, place: InputAxis) -> str | None:
    """The name of an open size; None where it has none."""
    value = next(v for v in model.graph.inputs if v.name == place[0])
    dim = None if value.shape is None else value.shape[place[1]]
    return dim.value if isinstance(dim, ir.SymbolicDim) else None


def _given(
    model: ir.Model,
    found: Shapes,
    wanted: Mapping[InputAxis, int],
    shapes: Mapping[str, Shape] | None,
    dims: Mapping[str, int] | None,
) -> tuple[dict[str, Shape], dict[str, int]]:
    """The sizes as inference takes them: by symbol, and by input where a size has no name."""
    symbols = {symbol: size for place, size in wanted.items() if (symbol := _symbol(model, place)) is not None}
    symbols |= dims or {}
    whole: dict[str, Shape] = {}
    for name in {place[0] for place in wanted if _symbol(model, place) is None}:
        sizes = enumerate(found.inputs[name])
        whole[name] = tuple(wanted.get((name, k), symbols.get(_symbol(model, (name, k)) or "", n)) for k, n in sizes)
    return {**whole, **(shapes or {})}, symbols
