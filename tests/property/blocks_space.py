"""Blocks on images that pool, resize, and move channels to pixels and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import activate
from .blocks_conv import composite, divisors, growable, shrinkable, some_width
from .builder import Value
from .growing import Block
from .operators import Builder


def even(_: Builder, x: Value) -> bool:
    return all(n % 2 == 0 for n in x.shape[2:])


def packed(b: Builder, x: Value) -> bool:
    """May be unfolded into pixels: channels in fours, image small."""
    return x.width % 4 == 0 and growable(b, x)


def unpacked(b: Builder, x: Value) -> bool:
    """May be folded into channels: even sides, few channels."""
    return even(b, x) and x.width <= 10 and min(x.shape[2:]) >= 4


def pool(b: Builder, x: Value) -> Value:
    """MaxPool, AveragePool or LpPool, with stride where there is room."""
    kind = b.pick("MaxPool", "AveragePool", "LpPool") if b.opset >= 18 else b.pick("MaxPool", "AveragePool")
    n, c, h, w = x.shape
    if not shrinkable(b, x):
        more: dict[str, Any] = {"count_include_pad": 1} if kind == "AveragePool" and b.chance(0.5) else {}
        return b.op(kind, x, shape=x.shape, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1], **more)
    if kind != "LpPool" and b.chance(0.4):
        shape = (n, c, -(-(h - 3) // 2) + 1, -(-(w - 3) // 2) + 1)
        return b.op(kind, x, shape=shape, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    return b.op(kind, x, shape=(n, c, h // 2, w // 2), kernel_shape=[2, 2], strides=[2, 2])


def global_context(b: Builder, x: Value) -> Value:
    """Global pooling, a 1x1 Conv, and back onto every pixel."""
    pooled = b.op(b.pick("GlobalAveragePool", "GlobalMaxPool"), x, shape=(*x.shape[:2], 1, 1))
    return b.op("Add", x, b.conv(pooled, x.width, kernel=1))


def pyramid_pool(b: Builder, x: Value) -> Value:
    """Pools of three sizes beside the input, then a 1x1 Conv."""
    parts = [x]
    for kernel in (3, 5):
        last = parts[-1] if b.chance(0.5) else x
        pads = [kernel // 2] * 4
        parts.append(b.op("MaxPool", last, shape=x.shape, kernel_shape=[kernel] * 2, pads=pads))
    return b.conv(b.concat(parts, 1), some_width(b), kernel=1)


def channel_shuffle(b: Builder, x: Value) -> Value:
    (n, c, h, w), groups = x.shape, b.pick(*divisors(x.width))
    y = b.transpose(b.reshape(x, n, groups, c // groups, h, w), 0, 2, 1, 3, 4)
    return b.reshape(y, n, c, h, w)


def shuffle_unit(b: Builder, x: Value) -> Value:
    """ShuffleNet: half passes, half is convolved, both are shuffled together."""
    half = x.width // 2
    left, right = b.split(x, [half, half], 1)
    right = activate(b, b.batch_norm(b.conv(right, half, kernel=1)))
    n, c, h, w = x.shape
    y = b.reshape(b.concat([left, right], 1), n, 2, half, h, w)
    return b.reshape(b.transpose(y, 0, 2, 1, 3, 4), n, c, h, w)


def depth_to_space(b: Builder, x: Value) -> Value:
    n, c, h, w = x.shape
    mode = b.pick("DCR", "CRD")
    return b.op("DepthToSpace", x, shape=(n, c // 4, 2 * h, 2 * w), blocksize=2, mode=mode)


def pixel_shuffle_steps(b: Builder, x: Value) -> Value:
    """PixelShuffle as Reshape, Transpose, Reshape; channels ahead of the block or behind it."""
    n, c, h, w = x.shape
    if b.chance(0.5):
        y = b.transpose(b.reshape(x, n, c // 4, 2, 2, h, w), 0, 1, 4, 2, 5, 3)
    else:
        y = b.transpose(b.reshape(x, n, 2, 2, c // 4, h, w), 0, 3, 4, 1, 5, 2)
    return b.reshape(y, n, c // 4, 2 * h, 2 * w)


def space_to_depth(b: Builder, x: Value) -> Value:
    n, c, h, w = x.shape
    return b.op("SpaceToDepth", x, shape=(n, 4 * c, h // 2, w // 2), blocksize=2)


def pixel_unshuffle_steps(b: Builder, x: Value) -> Value:
    n, c, h, w = x.shape
    y = b.transpose(b.reshape(x, n, c, h // 2, 2, w // 2, 2), 0, 1, 3, 5, 2, 4)
    return b.reshape(y, n, 4 * c, h // 2, w // 2)


def focus(b: Builder, x: Value) -> Value:
    """YOLOv5's stem: four strided slices beside one another."""
    rows = [b.slice(x, 2, i, x.shape[2], 2) for i in (0, 1)]
    return b.concat([b.slice(row, 3, j, x.shape[3], 2) for j in (0, 1) for row in rows], 1)


def resize_scales(b: Builder, x: Value) -> Value:
    n, c, h, w = x.shape
    scales = b.const(np.array([1, 1, 2, 2], np.float32))
    return b.op("Resize", x, _no_roi(b), scales, shape=(n, c, 2 * h, 2 * w), **_resize_mode(b))


def resize_sizes(b: Builder, x: Value) -> Value:
    """Resize to sizes whose channel entry is a number, or read off the input at run time."""
    n, c, h, w = x.shape
    shape = (n, c, h + 2, w + 3)
    if b.batch is not None and b.chance(0.6):
        sizes = b.ints(b.batch, *shape[1:])
    else:
        sizes = b.slice(b.op("Shape", x, shape=(4,)), 0, 0, 2)
        sizes = b.op("Concat", sizes, b.ints(*shape[2:]), shape=(4,), axis=0)
    none = None if b.opset >= 13 else b.const(np.zeros(0, np.float32))
    return b.op("Resize", x, _no_roi(b), none, sizes, shape=shape, **_resize_mode(b))


def _no_roi(b: Builder) -> Value | None:
    return None if b.opset >= 13 else b.const(np.zeros(0, np.float32))


def _resize_mode(b: Builder) -> dict[str, str]:
    if b.chance(0.5):
        return {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}


def upsample_expand(b: Builder, x: Value) -> Value:
    """Nearest upsampling as Reshape, Expand, Reshape."""
    n, c, h, w = x.shape
    y = b.expand(b.reshape(x, n, c, h, 1, w, 1), (n, c, h, 2, w, 2), like=x)
    return b.reshape(y, n, c, 2 * h, 2 * w)


def upsample_tile(b: Builder, x: Value) -> Value:
    return b.conv(b.tile(x, b.pick(2, 3), 2), some_width(b))


def crop(b: Builder, x: Value) -> Value:
    return b.slice(b.slice(x, 2, 1, x.shape[2]), 3, 0, x.shape[3] - 1)


def roll(b: Builder, x: Value) -> Value:
    """Swin's cyclic shift along one side."""
    axis, by = b.pick(2, 3), b.pick(1, 2)
    return b.concat([b.slice(x, axis, by, x.shape[axis]), b.slice(x, axis, 0, by)], axis)


def turn(b: Builder, x: Value) -> Value:
    """Height and width change places."""
    return b.swap(x)


def nhwc_round_trip(b: Builder, x: Value) -> Value:
    """Channels last, a pointwise step there, and back."""
    y = b.transpose(x, 0, 2, 3, 1)
    y = b.op("Add", b.op("Mul", y, b.uniform(x.width)), b.normal(x.width))
    return b.transpose(y, 0, 3, 1, 2)


def channels_last_mlp(b: Builder, x: Value) -> Value:
    """ConvNeXt: depthwise Conv, then norm and two linear layers with channels last, layer scale, residual."""
    y = b.transpose(b.conv(x, x.width, groups=x.width, kernel=5), 0, 2, 3, 1)
    y = b.op("Add", b.op("Mul", b.scaled_mean(y, 3), b.uniform(x.width)), b.normal(x.width))
    y = b.linear(activate(b, b.linear(y, 2 * x.width)), x.width)
    y = b.op("Mul", b.uniform(x.width), y)
    return b.op("Add", x, b.transpose(y, 0, 3, 1, 2))


def window_attention(b: Builder, x: Value) -> Value:
    """Swin: windows become a batch, tokens attend inside one, windows become an image again."""
    (n, c, h, w), rows, columns = x.shape, x.shape[2] // 2, x.shape[3] // 2
    y = b.transpose(b.reshape(x, n, c, rows, 2, columns, 2), 0, 2, 4, 3, 5, 1)
    y = b.reshape(y, n * rows * columns, 4, c)
    q, k, v = (b.linear(y, c, bias=bias) for bias in (True, False, True))
    scores = b.op("Add", b.matmul(q, b.swap(k)), b.normal(4, 4))
    y = b.linear(b.matmul(b.softmax(scores, 2), v), c)
    y = b.transpose(b.reshape(y, n, rows, columns, 2, 2, c), 0, 5, 1, 3, 2, 4)
    return b.op("Add", x, b.reshape(y, n, c, h, w))


BLOCKS = (
    Block("pool", pool, 2),
    Block("global_context", global_context),
    Block("pyramid_pool", pyramid_pool),
    Block("channel_shuffle", channel_shuffle, 2, fits=composite),
    Block("shuffle_unit", shuffle_unit, fits=lambda b, x: x.width % 2 == 0),
    Block("depth_to_space", depth_to_space, 3, fits=packed),
    Block("pixel_shuffle_steps", pixel_shuffle_steps, 3, fits=packed),
    Block("space_to_depth", space_to_depth, 3, fits=unpacked),
    Block("pixel_unshuffle_steps", pixel_unshuffle_steps, 3, fits=unpacked),
    Block("focus", focus, 3, fits=unpacked),
    Block("resize_scales", resize_scales, 2, fits=growable),
    Block("resize_sizes", resize_sizes, 2, fits=growable),
    Block("upsample_expand", upsample_expand, 2, fits=growable),
    Block("upsample_tile", upsample_tile, 2, fits=growable),
    Block("crop", crop, fits=shrinkable),
    Block("roll", roll),
    Block("turn", turn),
    Block("nhwc_round_trip", nhwc_round_trip),
    Block("channels_last_mlp", channels_last_mlp),
    Block("window_attention", window_attention, 3, fits=even),
)
