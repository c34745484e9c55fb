"""Reads from a network's behaviour which range of pixel values it was trained on.

A network whose input has the range that it knows uses its channels for different things. In a wrong range some
channels are off everywhere, and others on everywhere and in step with each other. So the range that fits is the one
under which rectified activations have their variance spread over most directions: for each linear layer, p are the
eigenvalues of the covariance of max(z, 0), as shares of their sum, where z is the layer's output behind its bias and
norm; the score is the entropy of p less the logarithm of the number of channels, and a range scores the mean of its
layers. Outputs do not tell: in a wrong range they saturate and look certain.

Images of one channel are tried as light marks on a dark ground too: networks that read digits are misled by scenes,
which are brighter than anything they know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.data import Dataset
from compressor.data.batch import Indices
from compressor.data.synthetic import (
    BYTES,
    DARK_CANDIDATES,
    IMAGENET,
    SIGNED,
    UNIT,
    USUAL_RANGES,
    InputKind,
    PixelRange,
    RangeChoice,
    Synthetic,
    kinds_of,
    synthetic,
)
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.linear_outputs import LinearOutput, linear_outputs
from compressor.pruning.budgets.cost import macs_per_sample

PixelRows = npt.NDArray[np.float32]

IMAGES = (16, 64)
"""Fewest and most images for one candidate."""
PIXELS = 1 << 18
"""Pixels of all images for one candidate, between those bounds."""
POSITIONS_READ = 48
"""Positions of an image that are read from each layer."""
LEAF_CONTRAST = 0.6
"""Contrast of the images, which are leaves without noise. With more of it than a network has seen, a narrower range
comes close to the one that it expects."""
LAYERS = 32
"""Layers that are read, spread evenly over the network."""
CHANNELS_READ = 256
"""Channels of a layer that are read, spread evenly."""
BYTES_OF_A_RUN = 256 << 20
"""What the layers of one run may hold."""
CLOSE_SCORES = 0.1
"""Difference of scores in which the range of ImageNet and [-1, 1] cannot be told apart; both are calibrated on then."""
MACS_TRIED = 400e9
"""Multiply-accumulates that may go into trying ranges on given samples: some ten seconds."""
MUCH = 0.3
"""Difference of scores from which on given samples are said to be in another range. Of twelve networks trained in four
ranges each scored best in its own on real images; in another one 0.3 to 1.1 less, but for close ones."""


@dataclass(frozen=True)
class _Plan:
    """What is tried, what is read: layers, images for a candidate, and how many are run at a time."""

    candidates: tuple[PixelRange, ...]
    layers: tuple[LinearOutput, ...]
    images: int
    batch: int

    @property
    def rounds(self) -> list[Indices]:
        """Numbers of the images of each run."""
        return [np.arange(start, start + self.batch, dtype=np.int64) for start in range(0, self.images, self.batch)]


def read_range(model: ir.Model, shapes: Shapes, seed: int, provider: str) -> RangeChoice:
    """The range of pixel values under which the layers of ``model`` have most to tell apart.

    Args:
        model: normalised; not changed.
        shapes: of that model, with the sizes that images are to have.
        seed: of the images.
        provider: where ONNX Runtime runs.

    Returns:
        The choice with its margin. The default where no input takes pixels or no layer can be read; two ranges, each
        for half of the samples, where ImageNet's wins and [-1, 1] is close behind it.

    Raises:
        UsageError: an input that samples cannot fill or no generator fits.
        ModelError: ONNX Runtime refuses the model, or it does not run.
        ProviderUnavailable: the provider is not there.
    """
    # The range to be found must not be applied by the generator already.
    samples = replace(synthetic(model, shapes, IMAGES[1], seed), plain=True)  # black is 0 and white 1
    pixels = [kind for kind in samples.kinds if kind.pixels]
    floating = [kind for kind in pixels if kind.dtype.is_floating_point()]
    inside = tuple(kind.name for kind in pixels if kind.use.scale is not None)
    # Bytes have their range by their type.
    if not floating:
        return RangeChoice(source="type" if pixels else "default", normalised_inside=inside)
    plan = _plan(model, shapes, floating)
    if not plan.layers:
        return RangeChoice(normalised_inside=inside)
    scores = _scores(model, plan, _feeds(samples, plan), provider)
    ranked = sorted(plan.candidates, key=lambda candidate: -scores[candidate])
    best, second = ranked[:2]
    # Calibrating on both costs little where the wrong one alone would cost accuracy.
    both = best == IMAGENET and scores[IMAGENET] - scores[SIGNED] <= CLOSE_SCORES
    return RangeChoice(
        ranges=(IMAGENET, SIGNED) if both else (best,),
        source="behaviour",
        runner_up=second,
        margin=scores[best] - scores[second],
        scores=tuple((candidate.name, scores[candidate]) for candidate in ranked),
        normalised_inside=inside,
    )


def spectral_entropy(rows: PixelRows) -> float:
    """Entropy of the shares of variance by direction, in nats, less the logarithm of the number of columns.

    Args:
        rows: float32[n, channels]; 0 is the most, where all directions vary alike. What is not finite scores -inf,
            what does not vary at all -log(channels).
    """
    if not np.isfinite(rows).all():
        return float("-inf")
    centred = rows.astype(np.float64)
    centred -= rows.mean(axis=0, dtype=np.float64)
    centred /= max(float(centred.max()), -float(centred.min()), 1e-300)  # squares of large numbers must not overflow
    # The nonzero eigenvalues of both products are the same, so the smaller one is decomposed.
    gram = centred.T @ centred if rows.shape[1] <= rows.shape[0] else centred @ centred.T
    values = np.maximum(np.linalg.eigvalsh(gram), 0)
    share = values[values > 0] / values.sum() if values.any() else np.ones(1)
    return float(-(share * np.log(share)).sum() - np.log(rows.shape[1]))


def _plan(model: ir.Model, shapes: Shapes, pixels: Sequence[InputKind]) -> _Plan:
    layers = linear_outputs(model.graph, shapes)
    if len(layers) > LAYERS:
        layers = [layers[round(k)] for k in np.linspace(0, len(layers) - 1, LAYERS)]
    grey = all(kind.channel_axis is None or kind.shape[kind.channel_axis] == 1 for kind in pixels)
    area = max(int(np.prod([n for a, n in enumerate(kind.shape) if a != kind.channel_axis])) for kind in pixels)
    held = 4 * sum(layer.numbers for layer in layers) / max(next(iter(shapes.inputs.values()))[0], 1)
    images = int(np.clip(PIXELS // max(area, 1), *IMAGES))
    batch = batch_limit(model) or int(np.clip(BYTES_OF_A_RUN // max(held, 1), 1, images))
    candidates = (*USUAL_RANGES, *DARK_CANDIDATES) if grey else USUAL_RANGES
    # Whole batches, as a model with a fixed batch takes no part of one.
    return _Plan(candidates, tuple(layers), -(-images // batch) * batch, batch)


def range_that_fits_better(
    model: ir.Model, shapes: Shapes, data: Dataset, provider: str
) -> tuple[InputKind, PixelRange, PixelRange] | None:
    """The usual range of pixels that a network fits much better than the one that given samples have.

    Args:
        model: normalised; not changed.
        shapes: of that model.
        data: samples with pixels from 0 to 1 or to 255; others are taken to be what the network knows.
        provider: where ONNX Runtime runs.

    Returns:
        The input, the range that the samples have, and the one that fits, with as many numbers as the input has
        channels or one for all; None where nothing much better does, or the
        network is too large to try.

    Raises:
        UsageError: an input that no generator fits, of which nothing is known.
        ModelError: the model does not run.
    """
    floating = [kind for kind in kinds_of(model, shapes) if kind.pixels and kind.dtype.is_floating_point()]
    plan = _plan(model, shapes, floating) if floating else None
    if plan is None or not plan.layers or len(data) < plan.batch:
        return None
    plan = replace(plan, candidates=USUAL_RANGES, images=min(plan.images, len(data) // plan.batch * plan.batch))
    # A warning is not worth minutes of a large network.
    if len(USUAL_RANGES) * plan.images * macs_per_sample(model.graph, shapes) > MACS_TRIED:
        return None
    kind = floating[0]
    # Spread over all samples: a folder of images lists one class after the other, and one class varies little.
    spread = _spread_over(len(data), plan.images)
    batches = [dict(data.take(spread[indices]).inputs) for indices in plan.rounds]
    given = _range_of(np.concatenate([batch[kind.name] for batch in batches]))
    if given is None:
        return None
    axis = None if kind.channel_axis is None else kind.channel_axis + 1

    def moved(candidate: PixelRange) -> Iterator[Mapping[str, Array]]:
        for batch in batches:
            pixels = batch[kind.name].astype(np.float32) * given.std[0]
            yield {**batch, kind.name: candidate.applied(pixels, axis).astype(batch[kind.name].dtype)}

    scores = _scores(model, plan, chain.from_iterable(map(moved, USUAL_RANGES)), provider)
    best = max(USUAL_RANGES, key=scores.__getitem__)
    channels = 1 if kind.channel_axis is None else kind.shape[kind.channel_axis]
    return (kind, given, best.of_channels(channels)) if scores[best] - scores[given] > MUCH else None


def _range_of(pixels: Array) -> PixelRange | None:
    """Is this one of the two ranges in which images are stored? Anything else was prepared for a network."""
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or not np.isfinite(high):
        return None
    return UNIT if 0.5 < high <= 1 else BYTES if 128 <= high <= 255 else None


def _scores(
    model: ir.Model, plan: _Plan, feeds: Iterator[Mapping[str, Array]], provider: str
) -> dict[PixelRange, float]:
    """Score of each candidate, from one session; ``feeds`` are all rounds of one candidate, then those of the next."""
    from compressor.runtime.taps import tap  # noqa: PLC0415 - ONNX Runtime is loaded only where it runs

    names = list(dict.fromkeys(layer.name for layer in plan.layers))
    # One session for all candidates; loading the model is dearer than these runs.
    runs = tap(model, names, feeds, provider)
    scores = {}
    for candidate in plan.candidates:
        rows: dict[str, list[PixelRows]] = {layer.name: [] for layer in plan.layers}
        for _ in plan.rounds:
            values = dict(zip(names, next(runs), strict=True))
            for layer in plan.layers:
                rows[layer.name].append(_rows(values[layer.name], layer.axis))
        scores[candidate] = float(np.mean([spectral_entropy(np.concatenate(part)) for part in rows.values()]))
    return scores


def _feeds(samples: Synthetic, plan: _Plan) -> Iterator[Mapping[str, Array]]:
    """Inputs of every round, under one candidate after the other; all but pixels are the same under each."""
    pixels = [kind for kind in samples.kinds if kind.pixels and kind.dtype.is_floating_point()]
    for candidate in plan.candidates:
        # Marks on a dark ground are black and white, as scanned digits are.
        contrast = 1.0 if candidate.dark else LEAF_CONTRAST
        for indices in plan.rounds:
            inputs = dict(samples.take(indices).inputs)
            for kind in pixels:
                axis = None if kind.channel_axis is None else kind.channel_axis + 1
                image = 0.5 + contrast * (inputs[kind.name].astype(np.float32) - 0.5)
                inputs[kind.name] = candidate.applied(image, axis).astype(kind.dtype.numpy())
            yield inputs


def _rows(value: Array, axis: int) -> PixelRows:
    """Rectified activations float32[rows, channels] at some positions of each sample, of some channels."""
    # Where channels are on the first axis there is no axis of samples.
    moved = np.moveaxis(value, axis, -1)[:, None] if axis else np.moveaxis(value, 0, -1)[None]
    positions, channels = moved.shape[1:-1], _spread_over(moved.shape[-1], CHANNELS_READ)
    # Picked from where they are: most of the values are not read, and need not be moved.
    places: tuple[Any, ...] = np.unravel_index(_spread_over(prod(positions), POSITIONS_READ), positions)
    part = moved[:, *places][..., channels]
    return np.maximum(part.astype(np.float32), 0).reshape(-1, len(channels))


def _spread_over(count: int, most: int) -> npt.NDArray[np.int64]:
    """Up to ``most`` of ``count`` indices, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
