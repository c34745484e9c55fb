"""From samples as they are stored to what an input takes: layout, scale and element type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.config.data import DataSection, DataSettings
from compressor.core.arrays import Array
from compressor.data.spec import IMAGE_CHANNELS, InputSpec, sizes_of
from compressor.data.values import check_kind
from compressor.errors import UsageError

Shape = tuple[int, ...]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Preparation:
    """How stored samples become what one input takes.

    Attributes:
        spec: the input.
        axes: their order in the stored array, samples first; -1 stands for an axis of size 1 that is not stored.
        scale: multiplied in float32 (float64 for such inputs), in the shape of a batch; None for 1.
        shift: added after that.
        done: what it does to samples, in words.
    """

    spec: InputSpec
    axes: tuple[int, ...]
    scale: Floats | None = None
    shift: Floats | None = None
    done: tuple[str, ...] = ()

    def shape(self, stored: Shape) -> Shape:
        """The shape in which an array of shape ``stored`` reaches the model."""
        return tuple(1 if axis < 0 else stored[axis] for axis in self.axes)

    def __call__(self, rows: Array) -> Array:
        """Samples [n, ...] as the input takes them: a new array, contiguous."""
        present = [axis for axis in self.axes if axis >= 0]
        # A transpose is a view, and is left out where it changes nothing, so that rows stay contiguous.
        arranged = rows.transpose(present) if present != sorted(present) else rows
        if -1 in self.axes:
            arranged = np.expand_dims(arranged, self.axes.index(-1))
        if self.spec.dtype == ir.DataType.STRING:
            return arranged.astype(object)
        if self.scale is not None and self.shift is not None:
            # In the type of the scale, float32 at least: bytes would overflow.
            numbers: npt.NDArray[np.floating] = arranged.astype(self.scale.dtype, order="C")
            numbers *= self.scale
            numbers += self.shift
            arranged = numbers
        # A copy in any case, as a mapped file is read-only.
        return np.array(arranged, self.spec.dtype.numpy(), order="C")


def prepare(spec: InputSpec, array: Array, settings: DataSettings, place: str, *, normal: bool) -> Preparation:
    """How samples of the form of ``array`` become what ``spec`` takes.

    Args:
        spec: the input.
        array: stored samples [n, ...], of which only shape and element type are looked at.
        settings: layout, mean and std.
        place: what messages call the array.
        normal: whether mean and std are meant for this input.

    Raises:
        UsageError: shape or element type do not fit, or the normalisation does not.
    """
    check_kind(spec, array, place)
    axes = () if spec.scalar else _arranged(spec, array.shape, settings.layout, place)
    scale, shift = _affine(spec, array, settings if normal else None)
    numbers = [] if scale is None else _normalised(spec, array, settings if normal else None)
    return Preparation(spec, axes, scale, shift, (*_rearranged(spec, axes), *numbers))


def normalised(found: Sequence[InputSpec], settings: DataSection) -> frozenset[str]:
    """Names of the inputs that mean and std are meant for: floating images; without any, a floating only input.

    Raises:
        UsageError: there are a mean or std and no such input.
    """
    floating = [spec for spec in found if spec.dtype.is_floating_point()]
    meant = [spec for spec in floating if spec.image] or (floating if len(found) == 1 else [])
    if not meant and (settings.mean or settings.std):
        raise UsageError("no input takes floating images, so that --mean and --std apply to none; leave them out")
    return frozenset(spec.name for spec in meant)


def check_symbols(preparations: Mapping[str, Preparation], shapes: Mapping[str, Shape]) -> None:
    """Inputs that share the name of a dimension have to agree on its size.

    Raises:
        UsageError: with both inputs and sizes.
    """
    sizes: dict[str, tuple[int, InputSpec]] = {}
    for name, preparation in preparations.items():
        spec = preparation.spec
        # Without the axis of samples, whose symbol is the batch and is the same for all.
        for dim, size in list(zip(spec.shape or (), preparation.shape(shapes[name]), strict=False))[1:]:
            if isinstance(dim, str):
                other, owner = sizes.setdefault(dim, (size, spec))
                if other != size:
                    raise UsageError(
                        f"{owner.quoted} and {spec.quoted} share the dimension {dim!r}, but the data gives it "
                        f"{other} in one and {size} in the other; make them equal"
                    )


def _arranged(spec: InputSpec, stored: Shape, layout: str, place: str) -> tuple[int, ...]:
    """Order of the stored axes for which the fixed sizes of the input are met."""
    plain = tuple(range(len(stored)))
    if spec.shape is None:
        return plain
    ways = _ways(spec, plain, layout)
    fitting = [axes for axes in ways if _fits(spec, stored, axes)]
    # All that do not fit are told in one sentence.
    if not fitting:
        held = f"{place} holds {sizes_of(stored[1:])}" if len(stored) else f"{place} is a scalar"
        wanted = f"{spec.quoted} takes samples of {sizes_of(spec.shape[1:])}"
        raise UsageError(f"{wanted}, {held}; {_remedy(spec, stored, layout)}")
    # Both orders would run, and one of them silently on garbage.
    if len(fitting) > 1 and spec.channels is None and stored[-1] in IMAGE_CHANNELS and stored[1] not in IMAGE_CHANNELS:
        raise UsageError(
            f"{place} holds {sizes_of(stored[1:])}, which looks like channels last, and {spec.quoted} leaves open "
            "where it has them; say it with --layout nhwc, or --layout nchw to pass samples as they are"
        )
    return fitting[0]


def _ways(spec: InputSpec, plain: tuple[int, ...], layout: str) -> list[tuple[int, ...]]:
    """Orders of the stored axes that are worth a try, the likeliest first."""
    rank = len(spec.shape or ())
    if not spec.image:
        return [plain]
    # Grey images are often stored without an axis of channels.
    if len(plain) == rank - 1 and spec.channels == 1:
        return [(*plain, -1) if spec.last else (0, -1, *plain[1:])]
    if len(plain) != rank:
        return [plain]
    to_first, to_last = (0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)
    moved = to_last if spec.last else to_first
    if layout == "auto":
        return [plain, moved]
    return [moved if (layout == "nhwc") != spec.last else plain]


def _fits(spec: InputSpec, stored: Shape, axes: tuple[int, ...]) -> bool:
    declared = (spec.shape or ())[1:]
    if len(axes) != len(declared) + 1:
        return False
    sizes = [1 if axis < 0 else stored[axis] for axis in axes[1:]]
    return all(not isinstance(dim, int) or dim == size for dim, size in zip(declared, sizes, strict=True))


def _remedy(spec: InputSpec, stored: Shape, layout: str) -> str:
    rank = len(spec.shape or ())
    if len(stored) == rank - 1 and stored and _fits(spec, (1, *stored), tuple(range(rank))):
        return "put an axis of samples in front"
    if layout != "auto" and any(_fits(spec, stored, way) for way in _ways(spec, tuple(range(len(stored))), "auto")):
        return "the other --layout, or auto, would fit"
    if len(stored) != rank:
        return f"give an array of {rank} axes, the first for samples"
    return "resize or convert the samples" if spec.image else "cut or pad the samples"


def _rearranged(spec: InputSpec, axes: tuple[int, ...]) -> list[str]:
    """What happens to the layout, in words."""
    if -1 in axes:
        return ["an axis of one channel added"]
    moved = list(axes) != sorted(axes)
    return [f"channels moved {'behind' if spec.last else 'before'} height and width"] if moved else []


def _normalised(spec: InputSpec, array: Array, settings: DataSettings | None) -> list[str]:
    """What happens to the numbers, in words."""
    done = ["bytes divided by 255"] if _is_pixels(spec, array) else []
    for name, numbers in (("mean", settings.mean), ("std", settings.std)) if settings is not None else ():
        if numbers:
            what = {"mean": "taken off", "std": "divided by"}[name]
            done.append(f"--{name} {','.join(f'{number:g}' for number in numbers)} {what}")
    return done


def _is_pixels(spec: InputSpec, array: Array) -> bool:
    """Are bytes stored where the input takes numbers with a point?"""
    return array.dtype == np.uint8 and spec.dtype.is_floating_point()


def _affine(spec: InputSpec, array: Array, settings: DataSettings | None) -> tuple[Floats | None, Floats | None]:
    """Scale and shift in the shape of a batch; None where numbers stay as they are."""
    pixels = _is_pixels(spec, array)
    mean, std = (settings.mean, settings.std) if settings is not None else ((), ())
    if not (mean or std or pixels):
        return None, None
    for name, numbers in (("mean", mean), ("std", std)):
        _check_channels(spec, name, numbers)
    # A mean of 123 or a deviation of 58 is of bytes, and would make all pixels alike.
    if pixels and any(abs(number) > 2 for number in (*mean, *std)):
        raise UsageError("--mean and --std are of pixels from 0 to 1, and one of them is above 2; divide them by 255")
    wide = np.float64 if spec.dtype == ir.DataType.DOUBLE else np.float32
    divisor = np.asarray(std or (1.0,), np.float64)
    # The division by 255 is folded into the scale, so that pixels are touched once.
    scale = (1 / 255 if pixels else 1.0) / divisor
    shift = -np.asarray(mean or (0.0,), np.float64) / divisor
    shape = [1] * (0 if spec.scalar else max(len(spec.shape or ()), 1))
    if spec.image:
        shape[-1 if spec.last else 1] = -1
    return _shaped(scale, shape, wide), _shaped(shift, shape, wide)


def _shaped(numbers: Floats, shape: list[int], wide: type[np.floating]) -> Floats:
    return cast("Floats", numbers.astype(wide).reshape(shape if numbers.size > 1 else [1] * len(shape)))


def _check_channels(spec: InputSpec, name: str, numbers: tuple[float, ...]) -> None:
    if len(numbers) > 1 and (not spec.image or spec.channels not in (None, len(numbers))):
        has = f"{spec.channels} channels" if spec.image else "no axis of channels"
        raise UsageError(f"--{name} has {len(numbers)} numbers, and {spec.quoted} has {has}; give one, or as many")
