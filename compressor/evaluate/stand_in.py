"""Made-up samples where a user gave none: of the kinds that the model takes, in the range of values that it expects."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx_ir as ir

from compressor.config import DataSettings
from compressor.core.clock import Clock, LastingText, Notice
from compressor.data import Dataset, subset
from compressor.data.filled import filled_notes
from compressor.data.prepared import preparation_told
from compressor.data.spec import few_notes
from compressor.data.synthetic import (
    InputKind,
    RangeChoice,
    Synthetic,
    given_range,
    kinds_of,
    left_open,
    sample_shapes,
    synthetic,
)
from compressor.errors import CompressorError, UsageError
from compressor.evaluate.value_range import range_that_fits_better, read_range
from compressor.metrics.evaluator import Evaluator
from compressor.operators.table import operator_of
from compressor.results.detail import SyntheticRow

LABELS_HELD = 256
"""Samples at most by whose labels it is seen whether a network knows them."""


def stand_in(model: ir.Model, settings: DataSettings, count: int) -> Synthetic:
    """``count`` made-up samples for ``model``.

    Pixels are in the range that ``settings`` tell, or else in the one that is read from the network's behaviour, which
    takes some runs of the model.

    Args:
        model: normalised; not changed.
        settings: sizes, seed, range of pixels, and where the model runs.
        count: samples.

    Raises:
        UsageError: an input that samples cannot fill or no generator fits; or the range does not fit the channels.
        ModelError: no sizes fit the graph, or it does not run.
        ProviderUnavailable: the provider is not there.
    """
    shapes = sample_shapes(model, settings.input_shapes, settings.dims, _longest(model))
    # What the user says of the range counts; reading it off the network takes runs and may be wrong.
    choice = given_range(settings.mean, settings.std, settings.input_range)
    if choice is not None:
        _check(choice, kinds_of(model, shapes))
    choice = choice or read_range(model, shapes, settings.seed, settings.provider)
    sizes = left_open(model, shapes, settings.input_shapes, settings.dims)
    return replace(synthetic(model, shapes, count, settings.seed, choice), left_open=sizes)


def given_samples_notes(model: ir.Model, data: Dataset, settings: DataSettings) -> list[str]:
    """What to know of given samples: how few they are, inputs that they leave out, pixels in another range than was
    trained on.

    Args:
        model: normalised; not changed.
        data: the user's samples, as the model is given them.
        settings: what they were prepared with; whoever says a mean, a deviation or a range knows it.
    """
    if isinstance(data, Synthetic):
        return []
    stated = settings.mean or settings.std or settings.input_range is not None
    return [*few_notes(data), *filled_notes(data), *([] if stated else _other_range(model, data, settings))]


def _other_range(model: ir.Model, data: Dataset, settings: DataSettings) -> list[str]:
    try:
        shapes = sample_shapes(model, settings.input_shapes, settings.dims, _longest(model))
        found = range_that_fits_better(model, shapes, data, settings.provider)
    except CompressorError:
        return []  # whatever it is, the work on these samples will say so
    if found is None or _known_to_be_right(model, data, settings):
        return []
    kind, given, best = found
    # Both as they are applied to the numbers of the samples.
    unit = 1 / given.std[0]
    mean, std = (",".join(f"{number * unit:.4g}" for number in numbers) for numbers in (best.mean, best.std))
    return [
        f"pixels of {kind.name!r} go from {given.limits}, and the network behaves as if it had been trained on "
        f"{best.limits} ({best.name}); if so, prepare them with --mean {mean} --std {std}"
    ]


def _known_to_be_right(model: ir.Model, data: Dataset, settings: DataSettings) -> bool:
    """Do labels show that the network knows these samples: is it right clearly more often than one label for all?"""
    evaluator = Evaluator(provider=settings.provider, batch_size=settings.batch_size)
    if not evaluator.measures(data):
        return False
    some = subset(data, LABELS_HELD, settings.seed)
    try:
        found = evaluator.measure(model, some)
        return evaluator.row(found.value, found.value, found.samples, some).beyond_one_label
    except CompressorError:
        return False  # labels of another form tell nothing


def tell_preparation(samples: Dataset, clock: Clock) -> None:
    """Says, while it runs, what the user's samples go through before the model sees them."""
    if done := preparation_told(samples):
        clock.tell(Notice(f"samples: {done}", f"phase=samples prepared={json.dumps(done)}"))


def tell_sizes(samples: Dataset, clock: Clock) -> None:
    """Says, while it runs, at which sizes of its own choice: what a run takes depends on them."""
    if isinstance(samples, Synthetic) and samples.left_open:
        sizes = [f"{name}={size}" for name, size in samples.left_open.items()]
        text = f"samples of {', '.join(sizes)} (--dim gives other sizes)"
        clock.tell(LastingText(text, f"phase=samples made_up_sizes={json.dumps(' '.join(sizes))}"))


def describe_samples(samples: Synthetic) -> SyntheticRow:
    """What the samples are, for reports."""
    choice = samples.choice
    pixels = any(kind.pixels for kind in samples.kinds)
    return SyntheticRow(
        kinds={kind.name: str(kind.kind) for kind in samples.kinds},
        range=[found.name for found in choice.ranges] if pixels and choice.source != "type" else [],
        limits=[found.limits for found in choice.ranges] if pixels and choice.source != "type" else [],
        source=choice.source if pixels else None,
        runner_up=None if choice.runner_up is None else choice.runner_up.name,
        margin=choice.margin,
        scores=dict(choice.scores),
        normalised_inside=list(choice.normalised_inside),
        sharpened=len(samples.sharpened),
        left_open=dict(samples.left_open),
    )


def _longest(model: ir.Model) -> int | None:
    """The rows of the shortest table that has one for each position, such as that of rotary cosines."""
    read = (node.inputs[k] for node in model.graph for k in operator_of(node).by_position if k < len(node.inputs))
    rows = [v.shape[0] for v in read if v is not None and v.is_initializer() and v.shape and len(v.shape) == 2]
    # The shortest table bounds the length: beyond its last row there is no position to look up.
    return min((row for row in rows if isinstance(row, int)), default=None)


def _check(choice: RangeChoice, kinds: tuple[InputKind, ...]) -> None:
    """Numbers by channel have to be as many as there are channels."""
    count = max(len(choice.ranges[0].mean), len(choice.ranges[0].std))
    for kind in kinds:
        channels = 1 if kind.channel_axis is None else kind.shape[kind.channel_axis]
        if kind.pixels and count not in (1, channels):
            raise UsageError(
                f"--mean and --std hold {count} numbers, and input {kind.name!r} takes images of {channels} "
                f"channel{'' if channels == 1 else 's'}; give one number, or one a channel"
            )
