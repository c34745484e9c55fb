"""Blocks, mostly of any rank, that fork, join, cut and reorder channels."""

from __future__ import annotations

import numpy as np

from .activations import activate
from .builder import Value
from .growing import Block
from .operators import Builder


def project(b: Builder, x: Value, out: int) -> Value:
    """The layer that mixes channels: a Conv on images, a linear layer elsewhere."""
    return b.conv(x, out, kernel=b.pick(1, 3)) if x.rank == 4 else b.linear(x, out)


def narrow(_: Builder, x: Value) -> bool:
    return x.width <= 12


def wide(_: Builder, x: Value) -> bool:
    return x.width >= 6


def even_width(_: Builder, x: Value) -> bool:
    return x.width % 2 == 0 and x.width >= 4


def has_memory(b: Builder, x: Value) -> bool:
    return any(old.rank == x.rank and old.shape != x.shape for old in b.memory)


def has_twin(b: Builder, x: Value) -> bool:
    return any(old.shape == x.shape and old.name != x.name for old in b.memory)


def residual(b: Builder, x: Value) -> Value:
    """x + f(x) with f as wide as x."""
    y = project(b, activate(b, project(b, x, x.width + b.pick(0, 2))), x.width)
    y = b.op("Add", *b.pick((x, y), (y, x)))
    return activate(b, y) if b.chance(0.5) else y


def residual_projection(b: Builder, x: Value) -> Value:
    out = b.pick(8, 10, 12)
    return b.op("Add", project(b, x, out), project(b, activate(b, project(b, x, 6)), out))


def residual_pad(b: Builder, x: Value) -> Value:
    """A narrow shortcut, padded with zero channels to the width of the branch."""
    before, after = b.pick((0, 4), (2, 2), (0, 3))
    return b.op("Add", b.pad(x, x.axis, before, after), project(b, x, x.width + before + after))


def residual_pad_stride(b: Builder, x: Value) -> Value:
    """CIFAR ResNet's shortcut: every second pixel, then zero channels on both sides."""
    y = b.slice(b.slice(x, 2, 0, x.shape[2], 2), 3, 0, x.shape[3], 2)
    return b.op("Add", b.pad(y, 1, 2, 2), b.conv(x, x.width + 4, stride=2))


def residual_slice(b: Builder, x: Value) -> Value:
    """A shortcut that keeps only the first channels."""
    out = x.width - 2
    return b.op("Add", b.slice(x, x.axis, 0, out), project(b, x, out))


def layer_scale(b: Builder, x: Value) -> Value:
    y = b.op("Mul", project(b, x, x.width), b.per_channel(x, 0.3, 1.0))
    return b.op("Add", x, y)


def dense(b: Builder, x: Value) -> Value:
    """DenseNet: new channels beside the old ones, twice."""
    for _ in range(2):
        x = b.concat([x, activate(b, project(b, x, 4))], x.axis)
    return x


def long_skip(b: Builder, x: Value) -> Value:
    """Bring back an earlier value: Concat where the other sizes agree, else a gate from its mean."""
    old = b.pick(*(v for v in b.memory if v.rank == x.rank and v.shape != x.shape))
    rest = [tuple(n for i, n in enumerate(v.shape) if i != v.axis) for v in (old, x)]
    if rest[0] == rest[1]:
        return project(b, b.concat([x, old], x.axis), 8)
    pooled = b.reduce("ReduceMean", old, 2, 3) if x.rank == 4 else b.reduce("ReduceMean", old, 1)
    return b.op("Mul", x, b.op("Sigmoid", project(b, pooled, x.width)))


def twin_add(b: Builder, x: Value) -> Value:
    """Add an earlier value of the same shape."""
    return b.op("Add", x, b.pick(*(v for v in b.memory if v.shape == x.shape and v.name != x.name)))


def many_branches(b: Builder, x: Value) -> Value:
    """Sum, Mean, Max or Min over three branches in one node."""
    out = b.pick(6, 8, 10)
    branches = [project(b, x, out) for _ in range(3)]
    return b.op(b.pick("Sum", "Mean", "Max", "Min"), *branches)


def inception(b: Builder, x: Value) -> Value:
    """Branches of different widths beside one another."""
    return b.concat([activate(b, project(b, x, width)) for width in (3, 4, 5)], x.axis)


def gated_branches(b: Builder, x: Value) -> Value:
    """One branch, through a Sigmoid, times another."""
    out = b.pick(6, 8, 12)
    return b.op("Mul", b.op("Sigmoid", project(b, x, out)), project(b, x, out))


def highway(b: Builder, x: Value) -> Value:
    """g * f(x) + (1 - g) * x."""
    gate = b.op("Sigmoid", project(b, x, x.width))
    rest = b.op("Sub", b.const(np.float32(1)), gate)
    return b.op("Add", b.op("Mul", gate, project(b, x, x.width)), b.op("Mul", rest, x))


def split_recombine(b: Builder, x: Value) -> Value:
    """Split unevenly, treat the parts differently, put them together in another order."""
    sizes = [2, 3, x.width - 5]
    first, second, third = b.split(x, sizes, x.axis)
    parts = [third, activate(b, first), project(b, second, 4)]
    return b.concat(parts if b.chance(0.5) else parts[::-1], x.axis)


def split_unused(b: Builder, x: Value) -> Value:
    """One output of the Split goes nowhere."""
    _, kept = b.split(x, [2, x.width - 2], x.axis)
    return kept


def slice_recombine(b: Builder, x: Value) -> Value:
    """Overlapping slices of the channels beside one another."""
    c = x.width
    return b.concat([b.slice(x, x.axis, 2, c), b.slice(x, x.axis, 0, c - 3)], x.axis)


def slice_stride(b: Builder, x: Value) -> Value:
    """Every second channel."""
    return b.slice(x, x.axis, b.pick(0, 1), x.width, 2)


def reverse_channels(b: Builder, x: Value) -> Value:
    return b.reverse(x, x.axis)


def partial_update(b: Builder, x: Value) -> Value:
    """FasterNet: only the first channels are convolved, the others pass."""
    part, rest = b.split(x, [x.width // 2 - 1, x.width - x.width // 2 + 1], x.axis)
    return b.concat([project(b, part, part.width), rest], x.axis)


def cross_stage(b: Builder, x: Value) -> Value:
    """YOLO's C2f: split in two, a chain on one half, everything concatenated."""
    half = x.width // 2
    y = project(b, x, 2 * half)
    parts = b.split(y, [half, half], y.axis)
    parts.append(b.op("Add", parts[-1], project(b, parts[-1], half)))
    return project(b, b.concat(parts, y.axis), x.width)


def halves(b: Builder, x: Value) -> Value:
    """Two halves of the channels combined: GLU, maxout, or a sum."""
    left, right = b.split(x, [x.width // 2] * 2, x.axis)
    how = b.pick("glu", "Max", "Add")
    return b.op("Mul", left, b.op("Sigmoid", right)) if how == "glu" else b.op(how, left, right)


def maxout_reshape(b: Builder, x: Value) -> Value:
    """Maximum over pairs of neighbouring channels."""
    shape, axis = list(x.shape), x.axis
    y = b.reshape(x, *shape[:axis], x.width // 2, 2, *shape[axis + 1 :])
    return b.reduce("ReduceMax", y, axis + 1, keep=False)


def ghost(b: Builder, x: Value) -> Value:
    """GhostNet: primary channels, and cheap ones made of them."""
    primary = activate(b, project(b, x, 6))
    cheap = b.conv(primary, 6, groups=6) if x.rank == 4 else b.op("Mul", primary, b.per_channel(primary))
    return b.concat([primary, activate(b, cheap)], x.axis)


def concat_self(b: Builder, x: Value) -> Value:
    """CReLU: x beside -x."""
    return b.op("Relu", b.concat([x, b.op("Neg", x)], x.axis))


def concat_constant(b: Builder, x: Value) -> Value:
    """Channels that come from a constant: coordinates, learned maps."""
    table = b.normal(1, 2, *x.shape[2:]) if x.rank == 4 else b.normal(1, *x.shape[1:-1], 2)
    return b.concat([x, b.expand(table, (x.shape[0], *table.shape[1:]), like=x)], x.axis)


def interleave(b: Builder, x: Value) -> Value:
    """Channels of two branches in turn: Unsqueeze, Concat, Reshape."""
    shape, axis = x.shape, x.axis
    pair = b.concat([b.unsqueeze(v, axis + 1) for v in (x, project(b, x, x.width))], axis + 1)
    return b.reshape(pair, *shape[:axis], 2 * x.width, *shape[axis + 1 :])


def gather_permutation(b: Builder, x: Value) -> Value:
    return b.gather(x, b.rng.permutation(x.width), x.axis)


def gather_subset(b: Builder, x: Value) -> Value:
    """A few channels by number, some counted from the back, in no order."""
    chosen = b.rng.choice(x.width, x.width - 2, replace=False)
    return b.gather(x, chosen - x.width * (b.rng.random(chosen.size) < 0.3), x.axis)


def gather_repeat(b: Builder, x: Value) -> Value:
    """Channels by number with repetitions."""
    return b.gather(x, b.rng.integers(0, x.width, x.width + 2), x.axis)


def gather_grouped(b: Builder, x: Value) -> Value:
    """Indices of rank 2: the channel axis becomes two, and the maximum of each pair is kept."""
    y = b.gather(x, b.rng.permutation(x.width)[: x.width // 2 * 2].reshape(-1, 2), x.axis)
    return b.reduce("ReduceMax", y, x.axis + 1, keep=False)


def tile_channels(b: Builder, x: Value) -> Value:
    return b.tile(x, x.axis, 2)


def repeat_channels(b: Builder, x: Value) -> Value:
    """Each channel twice in a row: Unsqueeze, Expand, Reshape."""
    shape, axis = x.shape, x.axis
    y = b.unsqueeze(x, axis + 1)
    y = b.expand(y, (*shape[: axis + 1], 2, *shape[axis + 1 :]), like=x)
    return b.reshape(y, *shape[:axis], 2 * x.width, *shape[axis + 1 :])


def channel_groups_scale(b: Builder, x: Value) -> Value:
    """View as (groups, width), scale each group and each place, view back."""
    groups = 2
    tail = (1,) * (x.rank - 1 - x.axis)
    y = b.reshape(x, *x.shape[: x.axis], groups, x.width // groups, *x.shape[x.axis + 1 :])
    y = b.op("Mul", y, b.uniform(groups, 1, *tail))
    y = b.op("Add", y, b.normal(x.width // groups, *tail))
    return b.reshape(y, *x.shape)


BLOCKS = (
    Block("residual", residual, 4),
    Block("residual_projection", residual_projection),
    Block("residual_pad", residual_pad, 1.5, fits=narrow),
    Block("residual_slice", residual_slice, fits=wide),
    Block("layer_scale", layer_scale),
    Block("dense", dense, 2, fits=narrow),
    Block("long_skip", long_skip, 1.5, fits=has_memory),
    Block("twin_add", twin_add, 1.5, fits=has_twin),
    Block("many_branches", many_branches),
    Block("inception", inception),
    Block("gated_branches", gated_branches),
    Block("highway", highway),
    Block("split_recombine", split_recombine, 1.5, fits=wide),
    Block("split_unused", split_unused, fits=wide),
    Block("slice_recombine", slice_recombine, fits=wide),
    Block("slice_stride", slice_stride, fits=wide),
    Block("reverse_channels", reverse_channels),
    Block("partial_update", partial_update, fits=wide),
    Block("cross_stage", cross_stage),
    Block("halves", halves, 1.5, fits=even_width),
    Block("maxout_reshape", maxout_reshape, fits=even_width),
    Block("ghost", ghost),
    Block("concat_self", concat_self, fits=narrow),
    Block("concat_constant", concat_constant, fits=narrow),
    Block("interleave", interleave, fits=narrow),
    Block("gather_permutation", gather_permutation),
    Block("gather_subset", gather_subset, fits=wide),
    Block("gather_repeat", gather_repeat, fits=narrow),
    Block("gather_grouped", gather_grouped, fits=wide),
    Block("tile_channels", tile_channels, fits=narrow),
    Block("repeat_channels", repeat_channels, fits=narrow),
    Block("channel_groups_scale", channel_groups_scale, fits=even_width),
)


def roomy(_: Builder, x: Value) -> bool:
    return x.width <= 12 and min(x.shape[2:]) >= 6


IMAGE_ONLY = (Block("residual_pad_stride", residual_pad_stride, fits=roomy),)
