"""Dead leaves: random shapes that cover each other, with the edges, sizes and occlusions of real scenes.

The model is that of Lee, Mumford and Huang, *Occlusion models for natural images* (IJCV 41, 2001): radii follow a
power law, so that an image looks alike at every scale. Networks that were calibrated on such images keep more of their
accuracy on photographs than on any noise without edges (Baradad et al., *Learning to see by looking at noise*, 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.data.synthetic.fractal import Field, fractal_noise

LEAVES = 80
"""Shapes in an image. Those in front hide others, so that about a third is seen."""
RADII = (0.08, 0.6)
"""Smallest and largest radius, as shares of the geometric mean of the sides."""
POWER = 2.0
"""Radii are Pareto distributed: the share of those above r falls with ``r ** -POWER``."""
ASPECT = 0.4
"""Shortest radius of a shape, as a share of its longest."""
LEAF_CHROMA = 0.22
"""Deviation of a channel from the brightness of its shape."""
GRADIENT = 0.15
"""Deviation of what brightness gains from the middle of a shape to one radius away."""
AT_ONCE = 1 << 17
"""Shapes times pixels up to which shapes are painted at all pixels."""
CACHED = 1 << 14
"""Shapes times pixels of a step of that: what it computes with stays in the processor's cache."""
TEXTURE = (0.12, 1.0)
"""Largest amplitude of the texture in a shape, and the exponent of its spectrum."""


@dataclass(frozen=True)
class _Shapes:
    """Geometry and paint of the shapes of one image of d dimensions, from back to front.

    Attributes:
        form: int[n]; 0 ellipsoid, 1 box, 2 simplex.
        centre: float32[n, d], in pixels.
        radius: float32[n, d], in pixels.
        turn: float32[n, d, d]; its rows are the axes of the shape.
        colour: float32[n, channels].
        slope: float32[n, d]; brightness gained along each axis of the image, a pixel.
        texture: float32[n]; amplitude.
    """

    form: npt.NDArray[np.int64]
    centre: Field
    radius: Field
    turn: Field
    colour: Field
    slope: Field
    texture: Field


def dead_leaves(rng: np.random.Generator, channels: int, size: Sequence[int]) -> Field:
    """One image float32[channels, \\*size] in 0..1: shapes in flat colours, with weak gradients and texture.

    Args:
        rng: source of all randomness.
        channels: any number; colours are a brightness that channels share, and a deviation of each.
        size: height and width, or depth, height and width.
    """
    sides = tuple(int(side) for side in size)
    shapes = _drawn(rng, channels, sides)
    front = _painted(shapes, sides)
    amplitude, exponent = shapes.texture, TEXTURE[1]
    # The texture of a shape stays within it, as amplitudes are looked up by the shape that is seen.
    shade = amplitude[front] * fractal_noise(rng, 1, sides, exponent)[0]
    for axis, side in enumerate(sides):
        line = np.arange(side, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(len(sides))])
        shade += shapes.slope[:, axis][front] * (line - shapes.centre[:, axis][front])
    image = np.stack([colour[front] for colour in shapes.colour.T])
    image += shade
    return np.clip(image, 0, 1, out=image)


def _drawn(rng: np.random.Generator, channels: int, sides: tuple[int, ...]) -> _Shapes:
    """The shapes; the first one is the background, a box that covers everything."""
    count, dims = LEAVES, len(sides)
    scale = float(np.prod(sides, dtype=np.float64) ** (1 / dims))
    low, high = RADII
    # The inverse of the distribution, cut off at the largest radius.
    share = rng.random(count) * (1 - (low / high) ** POWER)
    longest = scale * low * (1 - share) ** (-1 / POWER)
    radius = longest[:, None] * rng.uniform(ASPECT, 1, (count, dims))
    centre = rng.random((count, dims)) * sides
    form = rng.integers(0, 3, count)
    # The Q of a normal matrix is a random turn.
    turn = np.linalg.qr(rng.standard_normal((count, dims, dims)))[0]
    bright = rng.random((count, 1))
    colour = np.clip(bright + LEAF_CHROMA * (channels > 1) * rng.standard_normal((count, channels)), 0, 1)
    slope = GRADIENT * rng.standard_normal((count, dims)) / np.maximum(longest, 1)[:, None]
    # The background must cover the corners of the image, too.
    radius[0], centre[0], form[0], turn[0] = 2 * max(sides), np.divide(sides, 2), 1, np.eye(dims)
    slope[0] = GRADIENT * rng.standard_normal(dims) / scale
    texture = TEXTURE[0] * rng.random(count)
    small = (a.astype(np.float32) for a in (centre, radius, turn, colour, slope, texture))
    return _Shapes(form, *small)


def _painted(shapes: _Shapes, sides: tuple[int, ...]) -> npt.NDArray[np.int16]:
    """Index of the shape that is seen at each pixel, int16[\\*sides]."""
    # Divided here once, and not for every pixel.
    axes = shapes.turn / shapes.radius[:, :, None]  # row k: gives the coordinate along axis k, in radii
    # At once needs memory for all shapes at all pixels; one by one pays a loop for each.
    if len(axes) * np.prod(sides) > AT_ONCE:
        return _painted_one_by_one(shapes, axes, sides)
    grid = np.stack(np.meshgrid(*map(np.arange, sides), indexing="ij")).reshape(len(sides), -1).astype(np.float32)
    # Rounding must leave no pixel without a shape: the first one is behind all others.
    front = np.zeros(grid.shape[1], np.int16)
    step = max(1, CACHED // len(front))
    for start in range(0, len(axes), step):
        part = slice(start, start + step)
        lines = grid - shapes.centre[part, :, None]  # [shapes, d, pixels]
        covered = _inside(shapes.form[part, None], np.swapaxes(axes[part] @ lines, 0, 1))
        # The last one that covers a pixel is in front.
        last = start + len(covered) - 1 - covered[::-1].argmax(axis=0)
        np.copyto(front, last, where=covered.any(axis=0), casting="same_kind")
    return front.reshape(sides)


def _painted_one_by_one(shapes: _Shapes, axes: Field, sides: tuple[int, ...]) -> npt.NDArray[np.int16]:
    """The same for large images, of which most shapes cover a small part."""
    front = np.zeros(sides, np.int16)
    # A simplex reaches further than the radius at its corners; the square root bounds a box that is turned.
    reach = shapes.radius.max(axis=1) * np.where(shapes.form == 0, 1, np.sqrt(len(sides)))
    low = np.clip(np.ceil(shapes.centre - reach[:, None]), 0, sides).astype(np.int64)
    high = np.clip(np.floor(shapes.centre + reach[:, None]) + 1, 0, sides).astype(np.int64)
    for k in range(1, len(shapes.form)):
        # Outside of the image there is nothing to paint.
        if np.any(high[k] <= low[k]):
            continue
        window = tuple(slice(a, b) for a, b in zip(low[k], high[k], strict=True))
        pixels = [np.arange(s.start, s.stop, dtype=np.float32) for s in window]
        spread = np.meshgrid(*pixels, indexing="ij", sparse=True)
        lines = [line - c for line, c in zip(spread, shapes.centre[k], strict=True)]
        place = np.stack([
            sum((w * line for w, line in zip(row, lines, strict=True)), start=np.float32(0)) for row in axes[k]
        ])  # fmt: skip
        front[window][FORMS[shapes.form[k]](place)] = k
    return front


def _inside(form: npt.NDArray[np.int64], place: Field) -> npt.NDArray[np.bool_]:
    """Which places the shapes cover.

    Args:
        form: as in :class:`_Shapes`; broadcasts with the places.
        place: float32[d, ...]; coordinates along the axes of the shape, in radii.
    """
    ellipsoid, box, simplex = (covers(place) for covers in FORMS)
    return np.asarray(np.where(form == 0, ellipsoid, np.where(form == 1, box, simplex)))


FORMS: tuple[Callable[[Field], npt.NDArray[np.bool_]], ...] = (
    lambda place: np.asarray(np.square(place).sum(axis=0) <= 1),
    lambda place: np.asarray((np.abs(place) <= 1).all(axis=0)),
    # With corners at -1 on all axes and at +1 on one each: a right-angled triangle in two dimensions.
    lambda place: (place >= -1).all(axis=0) & (place.sum(axis=0) <= 2 - len(place)),
)
"""Which places an ellipsoid, a box and a simplex cover, of their coordinates along its axes, in radii."""
