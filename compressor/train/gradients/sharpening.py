"""Made-up images that a classifier is sure of.

Made-up scenes leave a classifier undecided, and most of them look like the same one or two classes to it. Its last
layers are then hardly used for what they are there for, and what is fitted on such samples misses it. A few steps along
the gradient of the score of a class that is drawn for each sample (Mahendran and Vedaldi, *Understanding deep image
representations by inverting them*, arXiv 1412.0035) use all classes alike. Steps are short and smooth, their amplitudes
falling with the frequency as those of images do: further steps find patterns that no image has, and make fits worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np
import onnx_ir as ir
import torch

from compressor.core.arrays import Array
from compressor.data.output_forms import OutputForm, decide, vocabularies
from compressor.data.synthetic import InputKind, Synthetic
from compressor.errors import UsageError
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.torch_ops.tensors import log_clamped, to_numpy
from compressor.train.module.graph_module import GraphModule
from compressor.train.module.measuring import measured_inputs, measuring_module
from compressor.train.module.pieces import chunk_of

ASCENT_STEPS, STEP_SIZE = 2, 0.1
"""Steps, and the root of the mean square of one, in units of the deviation of the image itself."""
AT_A_TIME, NUMBERS = 64, 1 << 19
"""Samples at a time where the model does not fix it, and numbers in all of their pixels: gradients hold every layer."""
SHARPENING_PASSES = 3 * ASCENT_STEPS
"""Forward passes that take as long as what is done for a sample; the backward pass by inputs alone counts two."""


def sharpened(model: ir.Model, samples: Synthetic, count: int) -> Synthetic:
    """``samples``, of which the first ``count`` are moved towards a class each.

    The same ones where no input takes floating-point pixels, or where no output holds scores of classes.

    Args:
        model: that takes them; not changed.
        samples: made-up ones.
        count: how many are changed, at most; whole batches where the model fixes their size.

    Raises:
        ModelError: torch lacks an operator of the model, or it does not run.
    """
    inputs = [kind for kind in samples.kinds if kind.pixels and kind.dtype.is_floating_point()]
    numbers = sum(prod(kind.shape) for kind in inputs)
    limit, room = batch_limit(model), max(1, min(AT_A_TIME, NUMBERS // max(numbers, 1), count, len(samples)))
    size = limit or room
    # Whole batches only, so that a graph with a fixed batch size is never run on a part of one.
    stop = min(count, len(samples)) // size * size
    if not inputs or not stop:
        return samples
    # Pixels are rounded back at the end.
    module = measuring_module(model).requires_grad_(False)
    if limit is not None and stop >= 2 * limit and _open(module, samples, limit):
        size = limit * max(1, room // limit)
    # A stream of its own beside the seed of the samples, so that drawing classes changes no sample.
    rng = np.random.default_rng([samples.seed, ASCENT_STEPS])
    by_sample: dict[int, Mapping[str, Array]] = {}
    form: OutputForm | None = None
    for start in range(0, stop, size):
        indices = np.arange(start, min(start + size, stop), dtype=np.int64)
        batch = dict(samples.take(indices).inputs)
        # Found on the first batch and then kept: the form of an output does not depend on the batch.
        if form is None:
            form = _scores(model, module, batch)
            if form is None:
                return samples
        moved = _moved(module, batch, inputs, form, rng)
        limits = {kind.name: _limits(kind, samples, indices) for kind in inputs}
        batch |= {name: np.clip(array, *limits[name]).astype(batch[name].dtype) for name, array in moved.items()}
        by_sample |= {int(i): {name: array[k] for name, array in batch.items()} for k, i in enumerate(indices)}
    return replace(samples, sharpened=by_sample, remembered={})


def _open(module: GraphModule, samples: Synthetic, limit: int) -> bool:
    """Does nothing in the graph depend on the number of samples that its file fixes? Tried on two batches."""
    two = dict(samples.take(np.arange(2 * limit, dtype=np.int64)).inputs)
    try:
        return chunk_of(module, measured_inputs(module, two), limit) is None
    except UsageError:
        return False  # an output has another number of rows than there are samples


def _outputs(module: GraphModule, tensors: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    found = module(**tensors)
    return found if isinstance(found, tuple) else (found,)


def _scores(model: ir.Model, module: GraphModule, batch: Mapping[str, Array]) -> OutputForm | None:
    """The first output that holds scores of classes, one set a sample or one for each of its positions."""
    with torch.no_grad():
        found = _outputs(module, measured_inputs(module, batch))
    if not all(isinstance(y, torch.Tensor) for y in found):
        return None  # a sequence, which nothing compares
    values = [to_numpy(y) for y in found]
    names = [str(v.name) for v in model.graph.outputs]
    return next((form for form in decide(names, values, None, {}, vocabularies(model)) if form.kind == "kl"), None)


def _moved(
    module: GraphModule, batch: Mapping[str, Array], inputs: list[InputKind], form: OutputForm, rng: np.random.Generator
) -> dict[str, Array]:
    """Pixels of a batch after :data:`ASCENT_STEPS` steps towards a class that is drawn for each sample."""
    tensors = measured_inputs(module, batch)
    names = [kind.name for kind in inputs if kind.name in tensors]
    axes = {kind.name: _axes(kind) for kind in inputs}
    # Steps are in units of each sample's own contrast, or dark images would be drowned.
    units = {name: tensors[name].std(dim=axes[name], keepdim=True) for name in names}
    target: torch.Tensor | None = None
    for _ in range(ASCENT_STEPS):
        for name in names:
            tensors[name] = tensors[name].detach().requires_grad_()
        scores = _outputs(module, tensors)[form.index].movedim(form.axis, -1).float()
        # Drawn once: the second step has to go to the same class as the first.
        if target is None:
            drawn = rng.integers(0, scores.shape[-1], len(scores))
            target = torch.as_tensor(drawn, device=scores.device).reshape(-1, *(1,) * (scores.ndim - 1))
        logs = log_clamped(scores) if form.probabilities else scores.log_softmax(-1)
        wanted = logs.gather(-1, target.expand(*scores.shape[:-1], 1)).mean(dim=tuple(range(1, scores.ndim)))
        # The sum over samples, as samples do not mix, gives each its own gradient.
        slopes = torch.autograd.grad(wanted.sum(), [tensors[name] for name in names], allow_unused=True)
        for name, slope in zip(names, slopes, strict=True):
            # A gradient of NaN or infinity would spoil the sample for everything after; it stays as it was.
            if slope is not None and bool(torch.isfinite(slope).all()):
                tensors[name] = tensors[name].detach() + STEP_SIZE * units[name] * _smooth(slope, axes[name])
    return {name: to_numpy(tensors[name].detach()) for name in names}


def _axes(kind: InputKind) -> tuple[int, ...]:
    """Axes of a batch along which pixels lie."""
    return tuple(1 + axis for axis in range(len(kind.shape)) if axis != kind.channel_axis)


def _smooth(slope: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    # The last axis is halved, since the transform of real numbers is symmetric.
    """A gradient whose amplitudes fall with 1/f beyond what they are, each sample's of mean square 1."""
    *rest, last = axes
    steps = [torch.fft.fftfreq(slope.shape[axis]) for axis in rest] + [torch.fft.rfftfreq(slope.shape[last])]
    square = torch.zeros(tuple(len(step) for step in steps))
    for axis, step in enumerate(steps):
        square = square + step.square().reshape([-1 if a == axis else 1 for a in range(len(steps))])
    # Frequency zero would divide by zero; it gets the weight of the lowest one that is there.
    square.view(-1)[0] = square.view(-1)[1:].min() if square.numel() > 1 else 1.0
    weight = square.rsqrt().to(slope.device)
    shape = [1] * slope.ndim
    for axis, length in zip(axes, weight.shape, strict=True):
        shape[axis] = length
    spectrum = torch.fft.rfftn(slope.float(), dim=axes) * weight.reshape(shape)
    field = torch.fft.irfftn(spectrum, s=[slope.shape[axis] for axis in axes], dim=axes)
    size = field.square().mean(dim=tuple(range(1, field.ndim)), keepdim=True).sqrt()
    # A gradient of zeros stays zero.
    even: torch.Tensor = field / size.clamp_min(1e-20)
    return even.to(slope.dtype)


def _limits(kind: InputKind, samples: Synthetic, indices: np.ndarray) -> tuple[Array, Array]:
    """Black and white of every sample, broadcast to its channels: float32[samples, ...] each."""
    axis = kind.channel_axis
    shape = tuple(n if a == axis else 1 for a, n in enumerate(kind.shape))
    ends = []
    for value in (0.0, 1.0):
        pixels = np.full(shape, value, np.float32)
        ends.append(np.stack([samples.choice.of(int(i)).applied(pixels, axis) for i in indices]))
    # A sample's pixels may be mapped with a negative scale, which makes black the larger number.
    return np.minimum(*ends), np.maximum(*ends)
