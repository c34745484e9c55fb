"""Blocks on images that normalise or gate channels."""

from __future__ import annotations

import numpy as np

from .activations import activate
from .blocks_conv import composite, divisors
from .builder import Value
from .growing import Block
from .operators import Builder


def wide_enough(_: Builder, x: Value) -> bool:
    """Instance statistics of very few pixels are noise, or nothing at all."""
    return x.shape[2] * x.shape[3] >= 6


def affine(b: Builder, x: Value) -> Value:
    return b.op("Add", b.op("Mul", x, b.per_channel(x)), b.per_channel(x, -0.5, 0.5))


def group_norm_steps(b: Builder, x: Value) -> Value:
    """GroupNorm as torch exports it: Reshape, InstanceNormalization, Reshape, Mul, Add."""
    n, c, h, w = x.shape
    groups = b.pick(*divisors(c))
    y = b.reshape(x, n, groups, c // groups * h * w)
    ones, zeros = b.const(np.ones(groups, np.float32)), b.const(np.zeros(groups, np.float32))
    y = b.op("InstanceNormalization", y, ones, zeros, shape=y.shape)
    return affine(b, b.reshape(y, n, c, h, w))


def group_norm_means(b: Builder, x: Value) -> Value:
    """GroupNorm with its means written out, on (N,G,C/G,H,W)."""
    n, c, h, w = x.shape
    groups = b.pick(*divisors(c))
    y = b.scaled_mean(b.reshape(x, n, groups, c // groups, h, w), 2, 3, 4)
    return affine(b, b.reshape(y, n, c, h, w))


def group_norm(b: Builder, x: Value) -> Value:
    c = x.width
    groups = b.pick(*divisors(c), 1)
    return b.op("GroupNormalization", x, b.uniform(c), b.normal(c), shape=x.shape, num_groups=groups)


def instance_norm(b: Builder, x: Value) -> Value:
    return b.op("InstanceNormalization", x, b.uniform(x.width), b.normal(x.width), shape=x.shape)


def instance_norm_means(b: Builder, x: Value) -> Value:
    return affine(b, b.scaled_mean(x, 2, 3))


def layer_norm_first(b: Builder, x: Value) -> Value:
    """LayerNorm over the channels of an image, in small steps."""
    return affine(b, b.scaled_mean(x, 1))


def layer_norm_all(b: Builder, x: Value) -> Value:
    """LayerNormalization over channels, height and width, with an elementwise scale."""
    terms = [x, b.uniform(*x.shape[1:]), b.normal(*x.shape[1:])]
    return b.op("LayerNormalization", *terms, shape=x.shape, axis=b.pick(1, -3))


def layer_norm_round_trip(b: Builder, x: Value) -> Value:
    y = b.transpose(x, 0, 2, 3, 1)
    y = b.op("LayerNormalization", y, b.uniform(x.width), b.normal(x.width), shape=y.shape, axis=-1)
    return b.transpose(y, 0, 3, 1, 2)


def local_response_norm(b: Builder, x: Value) -> Value:
    return b.op("LRN", x, size=3, alpha=0.5, beta=0.75, bias=1.0)


def lp_norm(b: Builder, x: Value) -> Value:
    """Length one over the channels of each pixel, then a learned scale: SSD's L2Norm."""
    return b.op("Mul", b.op("LpNormalization", x, axis=1, p=b.pick(1, 2)), b.per_channel(x, 1.0, 4.0))


def global_response_norm(b: Builder, x: Value) -> Value:
    """ConvNeXtV2's GRN: each channel's length over the image against the mean of all lengths."""
    length = b.reduce("ReduceL2", x, 2, 3)
    mean = b.op("Add", b.reduce("ReduceMean", length, 1), b.const(np.float32(1e-2)))
    return b.op("Add", affine(b, b.op("Mul", x, b.op("Div", length, mean))), x)


def squeeze_excite(b: Builder, x: Value) -> Value:
    """SE with 1x1 convolutions."""
    kind = b.pick("GlobalAveragePool", "ReduceMean")
    pooled = b.reduce(kind, x, 2, 3) if kind == "ReduceMean" else b.op(kind, x, shape=(*x.shape[:2], 1, 1))
    y = b.conv(activate(b, b.conv(pooled, 4, kernel=1)), x.width, kernel=1)
    gate = b.op(b.pick("Sigmoid", "HardSigmoid"), y)
    return b.op("Mul", *b.pick((x, gate), (gate, x)))


def squeeze_excite_linear(b: Builder, x: Value) -> Value:
    """SE with Gemm between Flatten and Reshape."""
    n, c = x.shape[:2]
    pooled = b.op("GlobalAveragePool", x, shape=(n, c, 1, 1))
    y = b.op("Flatten", pooled, shape=(n, c))
    y = b.op("Sigmoid", b.linear(activate(b, b.linear(y, 5)), c))
    return b.op("Mul", x, b.reshape(y, n, c, 1, 1))


def efficient_channel_attention(b: Builder, x: Value) -> Value:
    """ECA: a Conv along the channel axis, which no channel may leave."""
    n, c = x.shape[:2]
    pooled = b.op("GlobalAveragePool", x, shape=(n, c, 1, 1))
    y = b.conv(b.transpose(b.squeeze(pooled, 3), 0, 2, 1), 1, kernel=3)
    gate = b.op("Sigmoid", b.unsqueeze(b.transpose(y, 0, 2, 1), 3))
    return b.op("Mul", x, gate)


def spatial_attention(b: Builder, x: Value) -> Value:
    """CBAM's second half: mean and maximum over channels, a Conv, a gate on pixels."""
    mean, top = b.reduce("ReduceMean", x, 1), b.reduce("ReduceMax", x, 1)
    return b.op("Mul", x, b.op("Sigmoid", b.conv(b.concat([mean, top], 1), 1)))


def coordinate_attention(b: Builder, x: Value) -> Value:
    """Means along each side, one Conv over both, two gates."""
    _, c, h, w = x.shape
    rows, columns = b.reduce("ReduceMean", x, 3), b.transpose(b.reduce("ReduceMean", x, 2), 0, 1, 3, 2)
    y = activate(b, b.conv(b.concat([rows, columns], 2), 5, kernel=1))
    first, second = b.split(y, [h, w], 2)
    gates = [b.op("Sigmoid", b.conv(part, c, kernel=1)) for part in (first, b.transpose(second, 0, 1, 3, 2))]
    return b.op("Mul", b.op("Mul", x, gates[0]), gates[1])


def selective_kernel(b: Builder, x: Value) -> Value:
    """SKNet: two branches, softmax over the branches for each channel, weighted sum."""
    n, c = x.shape[:2]
    parts = [b.unsqueeze(b.conv(x, c, kernel=k), 1) for k in (1, 3)]
    stack = b.concat(parts, 1)
    pooled = b.reduce("ReduceMean", b.reduce("ReduceSum", stack, 1, keep=False), 2, 3)
    y = b.reshape(b.conv(activate(b, b.conv(pooled, 4, kernel=1)), 2 * c, kernel=1), n, 2, c, 1, 1)
    return b.reduce("ReduceSum", b.op("Mul", stack, b.softmax(y, 1)), 1, keep=False)


def split_attention(b: Builder, x: Value) -> Value:
    """A gate of one entry for each group of channels."""
    n, c, h, w = x.shape
    groups = b.pick(*divisors(c))
    pooled = b.op("GlobalAveragePool", x, shape=(n, c, 1, 1))
    gate = b.reshape(b.op("Sigmoid", b.conv(pooled, groups, kernel=1)), n, groups, 1, 1, 1)
    return b.reshape(b.op("Mul", b.reshape(x, n, groups, c // groups, h, w), gate), n, c, h, w)


def non_local(b: Builder, x: Value) -> Value:
    """Every pixel attends to every pixel."""
    n, c, h, w = x.shape
    q, k = (b.reshape(b.conv(x, 5, kernel=1), n, 5, h * w) for _ in "qk")
    v = b.reshape(b.conv(x, c, kernel=1), n, c, h * w)
    weights = b.softmax(b.matmul(b.swap(q), k), 2)
    return b.op("Add", x, b.reshape(b.matmul(v, b.swap(weights)), n, c, h, w))


def bilinear_pool(b: Builder, x: Value) -> Value:
    """Channel-by-channel products applied to the image: C x C from two maps of the same image."""
    n, c, h, w = x.shape
    a, d = (b.reshape(b.conv(x, c, kernel=1), n, c, h * w) for _ in "ad")
    gram = b.op("Mul", b.matmul(a, b.swap(d)), b.const(np.float32(1 / (h * w))))
    y = b.matmul(gram, b.reshape(x, n, c, h * w))
    return b.reshape(y, n, c, h, w)


BLOCKS = (
    Block("group_norm_steps", group_norm_steps, 1.5, fits=composite),
    Block("group_norm_means", group_norm_means, fits=composite),
    Block("group_norm", group_norm, 4, 21, composite),
    Block("instance_norm", instance_norm, fits=wide_enough),
    Block("instance_norm_means", instance_norm_means, fits=wide_enough),
    Block("layer_norm_first", layer_norm_first),
    Block("layer_norm_all", layer_norm_all, opset=17),
    Block("layer_norm_round_trip", layer_norm_round_trip, opset=17),
    Block("local_response_norm", local_response_norm),
    Block("lp_norm", lp_norm),
    Block("global_response_norm", global_response_norm, fits=wide_enough),
    Block("squeeze_excite", squeeze_excite, 2),
    Block("squeeze_excite_linear", squeeze_excite_linear),
    Block("efficient_channel_attention", efficient_channel_attention),
    Block("spatial_attention", spatial_attention),
    Block("coordinate_attention", coordinate_attention),
    Block("selective_kernel", selective_kernel),
    Block("split_attention", split_attention, fits=composite),
    Block("non_local", non_local),
    Block("bilinear_pool", bilinear_pool),
)
