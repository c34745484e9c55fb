"""Inputs as they might come instead of those that a model was made for: noisy, and images corrupted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.config.choices import CORRUPTIONS
from compressor.config.robustness import RobustnessSettings
from compressor.core.arrays import Array, Floats
from compressor.data import InputSpec
from compressor.data.corruptions import SEVERITIES, Images, corrupt, obstacle
from compressor.data.spec import IMAGE_CHANNELS
from compressor.errors import UsageError

UNDISTURBED, NOISE = "clean", "noise"
_SLACK = 0.05
"""Share by which pixels may lie outside black and white, as resampling makes them; beyond, they are no pixels."""


@dataclass(frozen=True)
class Shift:
    """One way in which inputs differ from those given.

    Attributes:
        name: clean, noise, or that of a corruption.
        level: amplitude of noise in standard deviations, severity of a corruption, 0 of clean inputs.
        draws: how often it is drawn.
    """

    name: str
    level: float = 0.0
    draws: int = 1


@dataclass
class Range:
    """What numbers an input holds, added batch by batch.

    Attributes:
        axis: of channels; None where there are none.
        low, high: extremes by channel, or over all where there are none.
    """

    axis: int | None
    low: Floats = field(default_factory=lambda: np.asarray(np.inf))
    high: Floats = field(default_factory=lambda: np.asarray(-np.inf))
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def deviation(self) -> float:
        """Standard deviation of all numbers."""
        return float(np.sqrt(self.squares / self.count))

    def add(self, values: Array) -> None:
        """Merges mean and squared deviations (Chan et al. 1979), and the extremes."""
        wide = values.astype(np.float64)
        # Sums of squares would cancel for pixels far from zero; merged means and deviations do not.
        mean, total = float(wide.mean()), self.count + wide.size
        self.squares += float(np.square(wide - mean).sum()) + (mean - self.mean) ** 2 * self.count * wide.size / total
        self.mean += (mean - self.mean) * wide.size / total
        self.count = total
        over = tuple(axis for axis in range(wide.ndim) if axis != self.axis)
        self.low, self.high = np.minimum(self.low, wide.min(over)), np.maximum(self.high, wide.max(over))


@dataclass(frozen=True)
class Pixels:
    """Where the pixels of an image input are: numbers are ``offset + scale * pixel``, pixels from 0 to 1.

    Attributes:
        last: channels stand on the last axis, not on the second.
        channels: how many.
        offset, scale: float32[c, 1, 1] or [1, 1, 1].
        origin: how they are known.
        guessed: they were read off the samples.
    """

    last: bool
    channels: int
    offset: Images
    scale: Images
    origin: str
    guessed: bool = False

    def of(self, values: Array) -> Images:
        """Numbers of the input as float32[n, c, h, w] from 0 to 1."""
        first = values.transpose(0, 3, 1, 2) if self.last else values
        return np.asarray(np.clip((first.astype(np.float32) - self.offset) / self.scale, 0, 1), np.float32)

    def back(self, images: Images, dtype: np.dtype[np.generic]) -> Array:
        """The opposite of :meth:`of`; whole numbers are rounded."""
        numbers = images * self.scale + self.offset
        rounded = np.rint(numbers) if dtype.kind == "u" else numbers
        return np.ascontiguousarray(rounded.transpose(0, 2, 3, 1) if self.last else rounded, dtype)


@dataclass(frozen=True)
class Disturbance:
    """Makes shifted inputs; what is drawn follows from the seed and the number of a sample, not from batches.

    Attributes:
        deviations: standard deviation of each input that noise is added to.
        pixels: of each input that is corrupted as an image.
        seed: of all draws. One sample gets the same draw at every amplitude and severity, scaled.
    """

    deviations: Mapping[str, float]
    pixels: Mapping[str, Pixels]
    seed: int

    def __call__(self, inputs: Mapping[str, Array], shift: Shift, draw: int, first: int) -> dict[str, Array]:
        """Inputs under ``shift``; ``first`` is the number of the first sample."""
        found = dict(inputs)
        if shift.name == UNDISTURBED:
            return found
        for place, name in enumerate(self.deviations if shift.name == NOISE else self.pixels):
            values = inputs[name]
            # Without the amplitude, so that a sample gets the same noise at every amplitude, only stronger.
            keys = [[self.seed, draw, place, _number(shift.name), first + k] for k in range(len(values))]
            generators = [np.random.default_rng(key) for key in keys]
            if shift.name == NOISE:
                found[name] = _noisy(values, shift.level * self.deviations[name], generators)
            else:
                known, kind = self.pixels[name], CORRUPTIONS[shift.name]
                images = corrupt(known.of(values), kind, int(shift.level), generators)
                found[name] = known.back(images, values.dtype)
        return found


def input_statistics(batches: Iterable[Mapping[str, Array]], specs: Iterable[InputSpec]) -> dict[str, Range]:
    """Reads all samples once; inputs that hold no numbers to disturb are left out."""
    found = {spec.name: Range(_channel_axis(spec)) for spec in specs if disturbable(spec)}
    for inputs in batches:
        for name, seen in found.items():
            seen.add(inputs[name])
    return found


def disturbable(spec: InputSpec) -> bool:
    """Floating-point numbers, or pixels in bytes: what noise can be added to."""
    return spec.dtype.is_floating_point() or (spec.image and spec.dtype == ir.DataType.UINT8)


def image_obstacle(spec: InputSpec, seen: Range) -> str:
    """Why an input that can be disturbed is no image; empty where it is one."""
    rank = None if spec.shape is None else len(spec.shape)
    if rank != 4:
        return f"{spec.quoted} is no image: it has {rank if rank is not None else 'unknown'} axes, not four"
    if seen.low.size not in IMAGE_CHANNELS:
        return f"{spec.quoted} has {seen.low.size} channels, and images have at most {max(IMAGE_CHANNELS)}"
    return ""


def pixels(spec: InputSpec, seen: Range, settings: RobustnessSettings) -> Pixels:
    """How numbers of an image input become pixels and back.

    From ``mean`` and ``std`` where they are given; bytes, and numbers from 0 to 1, are pixels as they are; else the
    range of each channel over the samples is taken for black to white.

    Raises:
        UsageError: ``mean`` and ``std`` do not lead to pixels from 0 to 1 or to 255.
    """
    channels = seen.low.size
    if (settings.mean or settings.std) and spec.dtype.is_floating_point():
        return Pixels(spec.last, channels, *_undone(spec, seen, settings), "pixels are known from --mean and --std")
    # Bytes go from 0 to 255 by their type; floats that stay between 0 and 1 are taken for pixels.
    whole = 255.0 if spec.dtype == ir.DataType.UINT8 else 1.0
    if seen.low.min() >= 0 and seen.high.max() <= whole:
        return Pixels(spec.last, channels, _shaped([0.0]), _shaped([whole]), f"numbers from 0 to {whole:g} are pixels")
    # A channel that is constant has no range; any width will do for it.
    width = np.where(seen.high > seen.low, seen.high - seen.low, 1.0)
    origin = "the range of each channel over the samples is taken for black to white"
    return Pixels(spec.last, channels, _shaped(seen.low), _shaped(width), origin, guessed=True)


def shifts(settings: RobustnessSettings, disturbance: Disturbance) -> tuple[list[Shift], dict[str, str]]:
    """Clean inputs, every amplitude and every severity that can be made, and why others cannot, by corruption."""
    found = [Shift(UNDISTURBED)]
    reasons: dict[str, str] = {}
    if any(disturbance.deviations.values()):
        steps = range(1, settings.noise_levels + 1)
        found += [Shift(NOISE, settings.noise * k / settings.noise_levels, settings.draws) for k in steps]
    channels = {known.channels for known in disturbance.pixels.values()}
    for name in settings.kinds if channels else ():
        # A corruption that one image input cannot take is left out for all, as shifts hold for the whole sample.
        reason = next(filter(None, (obstacle(name, number) for number in channels)), "")
        if reason:
            reasons[name] = reason
        else:
            found += [Shift(name, severity) for severity in SEVERITIES]
    return found, reasons


def _undone(spec: InputSpec, seen: Range, settings: RobustnessSettings) -> tuple[Images, Images]:
    """Offset and scale for which (pixel - mean) / std is the number; pixels from 0 to 1, or to 255 if that fits."""
    mean, std = np.asarray(settings.mean or (0.0,)), np.asarray(settings.std or (1.0,))
    if not {mean.size, std.size} <= {1, seen.low.size}:
        raise UsageError(f"--mean and --std have to be one number or {seen.low.size}, the channels of {spec.quoted}")
    low, high = float((seen.low * std + mean).min()), float((seen.high * std + mean).max())
    # Mean and std are given for pixels up to 1 by some data sets and up to 255 by others.
    for whole in (1.0, 255.0):
        if low >= -_SLACK * min(max(high, 1.0), whole) and high <= (1 + _SLACK) * whole:
            return _shaped(-mean / std), _shaped(whole / std)
    raise UsageError(
        f"with --mean and --std the pixels of {spec.quoted} run from {low:.3g} to {high:.3g}, not from 0 to 1 or 255; "
        + ("give those it was normalised with" if settings.normalised else "say --normalised if the data is already")
    )


def _shaped(numbers: npt.ArrayLike) -> Images:
    return np.asarray(numbers, np.float32).reshape(-1, 1, 1)


def _channel_axis(spec: InputSpec) -> int | None:
    if not spec.image or len(spec.shape or ()) != 4:
        return None
    return 3 if spec.last else 1


def _number(name: str) -> int:
    """A number for the draws of each kind of shift."""
    return 0 if name == NOISE else 1 + list(CORRUPTIONS).index(name)


def _noisy(values: Array, amplitude: float, generators: list[np.random.Generator]) -> Array:
    """Plus uniform numbers from minus to plus ``amplitude``; pixels in bytes stay bytes."""
    drawn = np.stack([rng.random(values.shape[1:], np.float32) for rng in generators])
    numbers = values.astype(np.float32) + np.float32(amplitude) * (2 * drawn - 1)
    if values.dtype.kind == "u":
        numbers = np.clip(np.rint(numbers), 0, 255)
    return numbers.astype(values.dtype)
