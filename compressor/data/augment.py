"""Random changes of training images: mirrored, and moved by a few pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.config.data import DataSettings
from compressor.core.arrays import Array
from compressor.data.batch import Batch, Indices
from compressor.data.spec import specs
from compressor.errors import UsageError


@dataclass(frozen=True)
class Augment:
    """Changes each image by numbers that follow from seed, epoch and the sample's index alone, so that a resumed
    run sees what the first would have seen. All image inputs of a sample are changed alike.

    Attributes:
        spatial: axes of height and width in a batch, by the name of each image input.
        flip: mirror every other image, left to right.
        padding: pixels by which an image may move each way; what comes in is 0, the mean of normalised images.
        seed: of all randomness.
        epoch: counted from 0.
    """

    spatial: Mapping[str, tuple[int, ...]]
    flip: bool
    padding: int
    seed: int
    epoch: int

    def __call__(self, batch: Batch, indices: Indices) -> Batch:
        """The batch with its images changed, in new arrays; ``indices`` are those of its samples."""
        random = _mixed(indices, self.seed, self.epoch)
        # One random word a sample; flip and moves take bits of it that do not overlap.
        mirrored = (random & np.uint64(1)).astype(bool) & self.flip
        # As many moves as there are, none included.
        span = np.uint64(2 * self.padding + 1)
        down = ((random >> np.uint64(8)) % span).astype(np.int64) - self.padding
        right = ((random >> np.uint64(36)) % span).astype(np.int64) - self.padding
        changed = {
            name: _changed(batch.inputs[name], axes, mirrored, np.stack([down, right], axis=1))
            for name, axes in self.spatial.items()
        }
        return Batch({**batch.inputs, **changed}, batch.labels)


def augmentation(settings: DataSettings, model: ir.Model, epoch: int) -> Augment | None:
    """What ``settings`` ask for in an epoch, or None.

    Raises:
        UsageError: no input of the model takes images.
    """
    if not settings.augment:
        return None
    spatial = {spec.name: spec.spatial for spec in specs(model) if spec.image}
    if not spatial:
        raise UsageError("no input of the model takes images, so that --augment applies to none; leave it out")
    padding = settings.crop_padding if "crop" in settings.augment else 0
    return Augment(spatial, "flip" in settings.augment, padding, settings.seed, epoch)


def _changed(
    images: Array, axes: tuple[int, ...], mirrored: npt.NDArray[np.bool_], moves: npt.NDArray[np.int64]
) -> Array:
    """Each image seen through a window that is moved by ``moves`` (down, right), then mirrored.

    One copy of each image and nothing else: twice as fast on large images as one gather from padded ones.
    """
    changed = np.zeros_like(images)
    source = np.moveaxis(images, axes, (-2, -1))
    target = np.moveaxis(changed, axes, (-2, -1))
    height, width = source.shape[-2:]
    for image, into, flipped, (down, right) in zip(source, target, mirrored.tolist(), moves.tolist(), strict=True):
        y, x = _overlap(down, height), _overlap(right, width)
        # Written through a mirrored view: the image is moved as it stands, and what is kept is mirrored.
        window = into[..., ::-1] if flipped else into
        window[..., y[1], x[1]] = image[..., y[0], x[0]]
    return changed


def _overlap(move: int, size: int) -> tuple[slice, slice]:
    """What a window moved by ``move`` sees of an axis, and where in the window that is."""
    # A move beyond the image leaves nothing to see.
    seen = max(size - abs(move), 0)
    start, into = min(max(move, 0), size), min(max(-move, 0), size)
    return slice(start, start + seen), slice(into, into + seen)


def _mixed(indices: Indices, seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    """Random bits for each index: splitmix64 (Steele, Lea and Flood, OOPSLA 2014) of index, seed and epoch."""
    # SeedSequence spreads neighbouring seeds and epochs over all bits.
    key = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    z = (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
