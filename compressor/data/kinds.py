"""What kind of data each input of a model takes, from its shape, its type, its name and what reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import onnx_ir as ir

from compressor.data.spec import IMAGE_CHANNELS, InputSpec, sizes_of, specs
from compressor.errors import UsageError
from compressor.graph.ir.control_flow import loop_settings
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.input_use import InputUse, use_of


class Kind(StrEnum):
    """The kinds that there are generators for."""

    IMAGE = "image"
    VOLUME = "volume"
    SPECTROGRAM = "spectrogram"
    WAVEFORM = "waveform"
    TOKENS = "tokens"
    SEGMENTS = "segments"
    POSITIONS = "positions"
    MASK = "mask"
    LENGTHS = "lengths"
    CACHE = "cache"
    BOXES = "boxes"
    SIZES = "sizes"
    FEATURES = "features"
    NUMBERS = "numbers"
    FLAGS = "flags"


@dataclass(frozen=True)
class InputKind:
    """One input and what it takes.

    Attributes:
        name: of the input.
        kind: of its data.
        dtype: its element type.
        shape: of one sample, without the axis of samples; all sizes known.
        words: words of the name, in small letters.
        use: what the graph does with it.
        channel_axis: axis of a sample that holds channels, of images, volumes and signals; None where there is none.
        shared: it has no axis of samples: one number goes with all of them.
        looped: it says how often a loop runs, or whether it starts.
    """

    name: str
    kind: Kind
    dtype: ir.DataType
    shape: tuple[int, ...]
    words: frozenset[str]
    use: InputUse
    channel_axis: int | None = None
    shared: bool = False
    looped: bool = False

    @property
    def pixels(self) -> bool:
        """Does it take pixels, which have a range?"""
        return self.kind in (Kind.IMAGE, Kind.VOLUME)


@dataclass(frozen=True)
class _Facts:
    """What the rules look at; ``shape`` is that of one sample, and ``fixed`` has None where the file leaves it open."""

    dtype: ir.DataType
    shape: tuple[int, ...]
    words: frozenset[str]
    use: InputUse
    tokens: frozenset[tuple[int, ...]]
    fixed: tuple[int | None, ...]

    @property
    def channels(self) -> int | None:
        """Axis of the channels of a signal: where the first convolution looks for them, else the shortest fixed one."""
        found = self.use.channel_axis
        if found is not None and 0 < found <= self.rank:
            return found - 1
        # An open axis is that of time, however short it was made.
        known = [axis for axis, size in enumerate(self.fixed) if size is not None] or range(self.rank)
        return min(known, key=lambda axis: self.shape[axis], default=None)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def real(self) -> bool:
        return self.dtype.is_floating_point()

    @property
    def whole(self) -> bool:
        return self.dtype.is_integer() and not self.real

    @property
    def pixel_type(self) -> bool:
        return self.real or self.dtype in (ir.DataType.UINT8, ir.DataType.INT8)

    def named(self, *words: str) -> bool:
        return not self.words.isdisjoint(words)


MANY_SAMPLES = 4000
"""Numbers along its only axis from which an input that no matrix product reads is a sound, not a row of features."""
BANDS = 16
"""Channels of a signal from which they are bands of frequency, not microphones or electrodes."""
CORNERS = 4
"""Numbers that tell a box."""
FLAT = 2
"""Axes of a sample without layout: features, or a waveform and its channels."""


def _spectrogram(f: _Facts) -> bool:
    named = f.named("mel", "mels", "melspec", "spec", "spectrogram", "spectrum", "fbank", "filterbank", "mfcc", "stft")
    if f.rank == FLAT:
        banded = f.use.window == 1 and f.use.channel_axis is not None and f.shape[f.use.channel_axis - 1] >= BANDS
        strip = f.use.window == FLAT and f.shape[0] != f.shape[1]
        return f.real and (named or banded or strip)
    return f.real and f.rank == FLAT + 1 and named


def _waveform(f: _Facts) -> bool:
    if not (f.real or f.dtype == ir.DataType.INT16) or not 1 <= f.rank <= FLAT:
        return False
    named = f.named("audio", "wav", "wave", "waveform", "waveforms", "speech", "signal", "pcm", "ecg", "eeg")
    few = f.rank == 1 or (f.channels is not None and f.shape[f.channels] < BANDS)
    long = f.rank == 1 and f.shape[0] >= MANY_SAMPLES and not f.use.product
    return few and (named or long or f.use.window == 1 or f.use.spectrum)


def _cache(f: _Facts) -> bool:
    named = f.named("past", "cache", "state", "hidden", "hx", "cx", "h0", "c0", "memory") and not f.use.product
    return f.real and (f.use.state or (f.rank > 1 and (named or (f.use.joined and f.use.window is None))))


def _boxes(f: _Facts) -> bool:
    return f.rank > 0 and f.shape[-1] == CORNERS and f.named("box", "boxes", "bbox", "bboxes", "roi", "rois")


KIND_RULES: tuple[tuple[Kind, Callable[[_Facts], bool]], ...] = (
    (Kind.BOXES, _boxes),
    (Kind.SIZES, lambda f: f.shape in ((2,), (3,)) and f.named("size", "sizes", "shape", "scale", "factor")),
    (Kind.LENGTHS, lambda f: f.shape == () and f.whole and f.named("len", "lens", "length", "lengths")),
    (Kind.MASK, lambda f: f.rank > 0 and f.named("mask", "masks", "padding")),
    (Kind.POSITIONS, lambda f: f.whole and f.rank > 0 and f.named("position", "positions", "pos")),
    (Kind.SEGMENTS, lambda f: f.whole and f.rank > 0 and f.named("type", "segment", "segments")),
    (Kind.TOKENS, lambda f: f.whole and f.use.table is not None),
    (Kind.MASK, lambda f: f.dtype == ir.DataType.BOOL and f.shape in f.tokens),
    (Kind.MASK, lambda f: f.whole and f.shape in f.tokens),
    (Kind.CACHE, _cache),
    (Kind.WAVEFORM, _waveform),
    (Kind.SPECTROGRAM, _spectrogram),
    (Kind.VOLUME, lambda f: f.rank == 4 and f.pixel_type),
    (Kind.IMAGE, lambda f: f.rank == 3 and f.pixel_type),
    (Kind.IMAGE, lambda f: f.rank == FLAT and f.use.window == FLAT and f.pixel_type),
    (Kind.FEATURES, lambda f: f.real and 1 <= f.rank <= FLAT),
    (Kind.NUMBERS, lambda f: f.rank == 0 and (f.real or f.whole)),
    (Kind.FLAGS, lambda f: f.dtype == ir.DataType.BOOL or (f.whole and f.rank <= FLAT)),
)  # fmt: skip
"""The first rule that holds decides. Names come before what reads an input only where shapes cannot tell."""


def kinds_of(model: ir.Model, shapes: Shapes) -> tuple[InputKind, ...]:
    """The kind of every input that samples have to fill.

    Args:
        model: normalised; not changed.
        shapes: of that model; every input has an axis of samples in front.

    Raises:
        UsageError: an input that no generator fits; the sentence names it and says what to give.
    """
    values = {str(v.name): v for v in model.graph.inputs}
    loops = loop_settings(model.graph)
    # What the graph indexes by this input may be smaller than the table.
    largest = shapes.largest(shapes.inputs, -1)
    uses = {spec.name: _bounded(use_of(values[spec.name], shapes), largest[spec.name]) for spec in specs(model)}
    sizes = {name: tuple(shapes.inputs[name][1:]) for name in uses}
    # Masks have the shape of an input of tokens, so these have to be known first.
    tokens = frozenset(
        sizes[spec.name] for spec in specs(model) if spec.dtype.is_integer() and uses[spec.name].table is not None
    )
    kinds = []
    for spec in specs(model):
        size = sizes[spec.name]
        fixed = tuple(dim if isinstance(dim, int) else None for dim in (spec.shape or ())[1:]) or (None,) * len(size)
        facts = _Facts(spec.dtype, size, _words(spec.name), uses[spec.name], tokens, fixed)
        kind = next((kind for kind, holds in KIND_RULES if holds(facts)), None)
        if kind is None:
            raise UsageError(
                f"{spec.quoted} takes {spec.wanted}, for which no samples can be made up; give real ones with --data"
            )
        kinds.append(_described(spec, kind, facts, looped=spec.name in loops))
    return tuple(kinds)


def _bounded(use: InputUse, largest: int) -> InputUse:
    """``use`` with no larger table than what every index that comes from the input allows; -1 allows all."""
    # The largest index is one less than the number of rows.
    return use if use.table is None or largest < 0 else replace(use, table=min(use.table, largest + 1))


def _words(name: str) -> frozenset[str]:
    """``inputIds.1`` and ``input_ids_1`` are {input, ids, 1}."""
    # Camel case counts as separate words.
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return frozenset(word.lower() for word in re.split(r"[^A-Za-z0-9]+", parted) if word)


def _described(spec: InputSpec, kind: Kind, facts: _Facts, *, looped: bool) -> InputKind:
    axis, shared = _channel_axis(kind, facts), spec.scalar
    return InputKind(spec.name, kind, spec.dtype, facts.shape, facts.words, facts.use, axis, shared, looped)


def _channel_axis(kind: Kind, facts: _Facts) -> int | None:
    """Where a sample has its channels: where the first convolution looks for them, else where sizes say so."""
    found, dims = facts.use.channel_axis, {Kind.IMAGE: 2, Kind.VOLUME: 3, Kind.SPECTROGRAM: 1, Kind.WAVEFORM: 1}
    if kind not in dims or facts.rank <= dims[kind]:
        return None
    # Counted without the axis of samples.
    if found is not None and 0 < found <= facts.rank:
        return found - 1
    if kind in (Kind.WAVEFORM, Kind.SPECTROGRAM):
        # A signal has fewer channels, or bands, than steps of time.
        return facts.channels
    order = (0, facts.rank - 1, 1)  # videos may have their frames in front of their channels
    return next((axis for axis in order if facts.shape[axis] in IMAGE_CHANNELS), 0)


def describe_kinds(kinds: tuple[InputKind, ...]) -> dict[str, str]:
    """Each input and its kind with the sizes of a sample, for messages and reports."""
    return {kind.name: f"{kind.kind} {sizes_of(kind.shape)}" for kind in kinds}
