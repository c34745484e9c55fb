"""Synthetic samples as a dataset: each follows from the seed and its index alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from zlib import crc32

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.data.batch import Batch, Indices
from compressor.data.kinds import InputKind, Kind, kinds_of
from compressor.data.synthetic.features import boxes, features
from compressor.data.synthetic.images import natural_image
from compressor.data.synthetic.leaves import dead_leaves
from compressor.data.synthetic.pixel_range import PixelRange, RangeChoice
from compressor.data.synthetic.signals import spectrogram, waveform
from compressor.data.synthetic.tokens import tokens
from compressor.errors import UsageError
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.graph.sizes.feeds import LOOP_ROUNDS
from compressor.graph.sizes.shapes import Shapes

REMEMBERED = 256 << 20
"""Bytes of samples that are kept, so that later epochs need not draw them again."""
UNSEEN = 256
"""Samples that choose between two models."""
CACHE_DEVIATION = 0.1
"""Deviation of made-up caches and states: most are near zero when a sequence starts."""
MASKED = -1e4
"""What a mask adds to scores that do not count; float16 holds it."""
TIMES = ("time", "timestep", "timesteps", "step", "t")
TIME_STEPS = 1000
"""Steps of diffusion models, where no table tells."""
FILLED_SHARE = 0.5
"""Shortest sequence beside its padding, as a share of the longest; half of all samples are full."""


@dataclass(frozen=True)
class Draw:
    """What a generator knows when it makes one input of one sample.

    Attributes:
        kind: the input.
        rng: its source of randomness.
        seed: of the whole dataset.
        filled: share of sequences that is not padding, the same for all inputs of the sample.
        siblings: all inputs of the model.
        range: values of black and white.
        plain: images are dead leaves without noise.
    """

    kind: InputKind
    rng: np.random.Generator
    seed: int
    filled: float
    siblings: tuple[InputKind, ...]
    range: PixelRange
    plain: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch axis."""
        return self.kind.shape

    @property
    def channels(self) -> int:
        """Channels of an image or signal."""
        axis = self.kind.channel_axis
        return 1 if axis is None else self.shape[axis]

    @property
    def grid(self) -> tuple[int, ...]:
        """Sizes of the sample's spatial axes, without batch and channels."""
        return tuple(n for axis, n in enumerate(self.shape) if axis != self.kind.channel_axis)

    def placed(self, array: Array) -> Array:
        """``array`` [channels, ...] with its channels where the input has them."""
        axis = self.kind.channel_axis
        return array[0] if axis is None else np.moveaxis(array, 0, axis)

    def filled_of(self, length: int) -> int:
        """How many of ``length`` positions are not padding; at least one."""
        return max(1, round(self.filled * length))


@dataclass(frozen=True)
class Synthetic:
    """Made-up samples of the kinds that a model takes, drawn when they are read.

    Attributes:
        kinds: every input and what it takes.
        count: samples.
        seed: of all randomness.
        choice: values of pixels.
        plain: images are dead leaves without noise, by which the range of values is read.
        remembered: samples that were drawn before, by index, up to :data:`REMEMBERED` bytes.
        sharpened: samples that were changed after they were drawn, by index; they stand for those that are drawn
            (:mod:`compressor.train.gradients.sharpening`).
        left_open: sizes that neither the model nor the user tells, by symbol.
    """

    kinds: tuple[InputKind, ...]
    count: int
    seed: int
    choice: RangeChoice = field(default_factory=RangeChoice)
    plain: bool = False
    remembered: dict[int, dict[str, Array]] = field(default_factory=dict, repr=False, compare=False)
    sharpened: Mapping[int, Mapping[str, Array]] = field(default_factory=dict, repr=False, compare=False)
    left_open: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def labelled(self) -> bool:
        """Nobody knows the classes of made-up samples."""
        return False

    def __len__(self) -> int:
        return self.count

    def take(self, indices: Indices) -> Batch:
        """The samples at ``indices``, stacked along a first axis."""
        if not len(indices):
            # ``np.stack`` of nothing has no shape.
            none = {kind: () if kind.shared else (0, *kind.shape) for kind in self.kinds}
            return Batch({kind.name: np.zeros(shape, kind.dtype.numpy()) for kind, shape in none.items()})
        made = [self._sample(int(index)) for index in indices]
        # Another number in each batch: what is fitted to samples of one number alone is wrong at any other.
        shared = {kind.name for kind in self.kinds if kind.shared}
        return Batch(
            {n: made[0][n] if n in shared else np.stack([sample[n] for sample in made]) for n in made[0]},
        )

    def renewed(self) -> Synthetic:
        """Other samples of the same kinds, as they are drawn."""
        # The memory of samples belongs to the seed.
        return replace(self, seed=self.seed + 1, remembered={}, sharpened={})

    def unseen(self) -> Synthetic:
        """:data:`UNSEEN` samples to choose between models by."""
        # Not the first renewal, which reports compare on.
        return replace(self.renewed().renewed(), count=UNSEEN)

    def _sample(self, index: int) -> Mapping[str, Array]:
        if index in self.sharpened:
            return self.sharpened[index]
        if index in self.remembered:
            return self.remembered[index]
        # A stream of its own for what all inputs of a sample have in common.
        share = np.random.default_rng([self.seed, index])
        filled = 1.0 if share.random() < FILLED_SHARE else share.uniform(FILLED_SHARE, 1)
        sample = {}
        for kind in self.kinds:
            # By name, so that an input's numbers do not depend on what other inputs there are.
            rng = np.random.default_rng([self.seed, index, crc32(kind.name.encode())])
            draw = Draw(kind, rng, self.seed, filled, self.kinds, self.choice.of(index), self.plain)
            sample[kind.name] = np.asarray(GENERATORS[kind.kind](draw)).astype(kind.dtype.numpy()).reshape(kind.shape)
        # All samples have the same size, so one tells for all.
        if (len(self.remembered) + 1) * sum(array.nbytes for array in sample.values()) <= REMEMBERED:
            self.remembered[index] = sample
        return sample


def synthetic(model: ir.Model, shapes: Shapes, count: int, seed: int, choice: RangeChoice | None = None) -> Synthetic:
    """``count`` samples of the kinds that ``model`` takes.

    Args:
        model: normalised; not changed.
        shapes: of that model, with every size that samples are to have; first axes do not count.
        count: samples.
        seed: of all randomness.
        choice: values that pixels get; black is 0 and white 1 where None.

    Raises:
        UsageError: there would be no sample, or an input that samples cannot fill or no generator fits.
    """
    if count < 1:
        raise UsageError(f"{count} samples are none; ask for at least one")
    batch_limit(model)
    return Synthetic(kinds_of(model, shapes), count, seed, choice or RangeChoice())


def _image(draw: Draw) -> Array:
    image = (dead_leaves if draw.plain else natural_image)(draw.rng, draw.channels, draw.grid)
    if draw.kind.dtype == ir.DataType.UINT8:
        return draw.placed(np.rint(255 * image))
    # The same pixels, moved to where the type has its middle.
    if draw.kind.dtype == ir.DataType.INT8:
        return draw.placed(np.rint(255 * image) - 128)
    return draw.placed(draw.range.applied(image, 0))


def _waveform(draw: Draw) -> Array:
    sound = waveform(draw.rng, draw.channels, draw.grid[0])
    return draw.placed(np.rint(32767 * sound) if draw.kind.dtype == ir.DataType.INT16 else sound)


def _spectrogram(draw: Draw) -> Array:
    grid = draw.grid
    if len(grid) == 1:  # the bands are the channels
        return draw.placed(spectrogram(draw.rng, draw.channels, grid[0]))
    return draw.placed(np.stack([spectrogram(draw.rng, *grid) for _ in range(draw.channels)]))


def _tokens(draw: Draw) -> Array:
    return tokens(draw.rng, draw.shape, draw.kind.use.table or 2)


def _segments(draw: Draw) -> Array:
    """A first sentence, then a second one; one sentence in half of the samples."""
    length = draw.shape[-1]
    cut = length if draw.rng.random() < 0.5 else int(draw.rng.integers(1, length + 1))
    second = (np.arange(length) >= cut).astype(np.int64)
    return np.broadcast_to(np.minimum(second, (draw.kind.use.table or 2) - 1), draw.shape)


def _positions(draw: Draw) -> Array:
    """0, 1, 2, ...; behind what is in a cache, which the mask has room for too."""
    length = draw.shape[-1]
    # With a cache the mask covers past and present, and positions go on behind the past.
    masked = max((other.shape[-1] for other in draw.siblings if other.kind == Kind.MASK), default=length)
    cached = any(other.kind == Kind.CACHE for other in draw.siblings)
    count = np.arange(length) + (max(0, masked - length) if cached else 0)
    # A table has no more positions than it has rows.
    last = (draw.kind.use.table or count[-1] + 1) - 1
    return np.broadcast_to(np.minimum(count, last), draw.shape)


def _mask(draw: Draw) -> Array:
    """Ones, then zeros for padding; True for padding, or what is added to scores, where the input takes that."""
    # Behind a cache there are new tokens alone, and some operators take the sum of a mask for the length so far.
    cached = any(other.kind == Kind.CACHE for other in draw.siblings)
    seen = np.arange(draw.shape[-1]) < (draw.shape[-1] if cached else draw.filled_of(draw.shape[-1]))
    if draw.kind.dtype == ir.DataType.BOOL and "padding" in draw.kind.words:
        seen = ~seen
    if draw.kind.use.added and draw.kind.dtype.is_floating_point():
        # A mask that is added to scores closes by a large negative number instead of zero.
        return np.broadcast_to(np.where(seen, 0.0, MASKED), draw.shape)
    return np.broadcast_to(seen, draw.shape)


def _lengths(draw: Draw) -> Array:
    sequences = (Kind.TOKENS, Kind.SPECTROGRAM, Kind.WAVEFORM, Kind.FEATURES)
    long = [n for other in draw.siblings if other.kind in sequences for a, n in enumerate(other.shape)
            if a != other.channel_axis and (other.kind != Kind.FEATURES or a == 0)]  # fmt: skip
    return np.asarray(draw.filled_of(max(long, default=1)))


def _sizes(draw: Draw) -> Array:
    """Height and width of the image beside it; 1 where the input is a factor between two sizes."""
    images = [other for other in draw.siblings if other.pixels]
    # A factor of one leaves the image as it is, whatever the graph scales.
    if "scale" in draw.kind.words or "factor" in draw.kind.words or not images:
        return np.ones(draw.shape)
    grid = [n for axis, n in enumerate(images[0].shape) if axis != images[0].channel_axis][-2:]
    return np.asarray([*grid, 1][: draw.shape[0]])


def _features(draw: Draw) -> Array:
    """Unit normal numbers, or such as have the mean and deviation that the graph normalises its input by."""
    made = features(draw.rng, draw.shape, draw.seed)
    shift, scale = draw.kind.use.shift, draw.kind.use.scale
    if shift is None or scale is None:
        return made
    moved = made[None] * np.abs(scale) + shift
    # Constants that do not broadcast over the sample normalise something else.
    return moved if moved.size == made.size else made


def _numbers(draw: Draw) -> Array:
    if draw.kind.looped:
        return np.asarray(draw.rng.integers(*LOOP_ROUNDS, endpoint=True))
    if not draw.kind.words.isdisjoint(TIMES):
        drawn = draw.rng.uniform(0, TIME_STEPS)
        return np.asarray(drawn if draw.kind.dtype.is_floating_point() else int(drawn))
    return np.asarray(draw.rng.standard_normal() if draw.kind.dtype.is_floating_point() else draw.rng.integers(0, 2))


def _flags(draw: Draw) -> Array:
    # A loop that does not start shows nothing.
    return np.asarray((draw.rng.random(draw.shape) < 0.7) | draw.kind.looped)


GENERATORS: Mapping[Kind, Callable[[Draw], Array]] = MappingProxyType(
    {
        Kind.IMAGE: _image,
        Kind.VOLUME: _image,
        Kind.SPECTROGRAM: _spectrogram,
        Kind.WAVEFORM: _waveform,
        Kind.TOKENS: _tokens,
        Kind.SEGMENTS: _segments,
        Kind.POSITIONS: _positions,
        Kind.MASK: _mask,
        Kind.LENGTHS: _lengths,
        Kind.CACHE: lambda draw: CACHE_DEVIATION * draw.rng.standard_normal(draw.shape),
        Kind.BOXES: lambda draw: boxes(draw.rng, draw.shape),
        Kind.SIZES: _sizes,
        Kind.FEATURES: _features,
        Kind.NUMBERS: _numbers,
        Kind.FLAGS: _flags,
    }
)
"""Kind -> how one sample of it is made."""
