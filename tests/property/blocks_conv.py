"""Blocks on images (N,C,H,W): convolutions in all their forms."""

from __future__ import annotations

from .activations import activate
from .builder import Value
from .growing import Block
from .operators import Builder

WIDTHS = (6, 8, 8, 10, 12, 12, 16)


def some_width(b: Builder) -> int:
    return b.pick(*WIDTHS)


def divisors(n: int) -> list[int]:
    """The divisors of n other than 1 and n; n alone for a prime."""
    return [d for d in range(2, n) if n % d == 0] or [n]


def shrinkable(_: Builder, x: Value) -> bool:
    return min(x.shape[2:]) >= 6


def growable(_: Builder, x: Value) -> bool:
    return max(x.shape[2:]) <= 6


def composite(_: Builder, x: Value) -> bool:
    return divisors(x.width)[0] < x.width


def conv(b: Builder, x: Value) -> Value:
    kernel, dilation = b.pick((1, 1), (3, 1), (3, 1), (3, 2), (5, 1))
    stride = 2 if shrinkable(b, x) and b.chance(0.4) else 1
    out = some_width(b)
    return b.conv(x, out, kernel=kernel, dilation=dilation, stride=stride, bias=b.chance(0.7))


def conv_auto_pad(b: Builder, x: Value) -> Value:
    out = some_width(b)
    weight = b.weight(out, x.width, 3, 3, fan_in=9 * x.width)
    return b.op("Conv", x, weight, b.bias(out), shape=(x.shape[0], out, *x.shape[2:]), auto_pad="SAME_UPPER")


def conv_uneven_pad(b: Builder, x: Value) -> Value:
    """A kernel of 2x3 with other pads on every side."""
    out, (n, c, h, w) = some_width(b), x.shape
    weight = b.weight(out, c, 2, 3, fan_in=6 * c)
    return b.op("Conv", x, weight, shape=(n, out, h, w + 1), pads=[1, 1, 0, 2])


def conv_after_pad(b: Builder, x: Value) -> Value:
    """Explicit spatial Pad ahead of an unpadded Conv, as TensorFlow exports have it."""
    mode = b.pick("constant", "reflect", "edge")
    for axis in (2, 3):
        x = b.pad(x, axis, 1, 1, mode)
    out, (n, c, h, w) = some_width(b), x.shape
    return b.op("Conv", x, b.weight(out, c, 3, 3, fan_in=9 * c), b.bias(out), shape=(n, out, h - 2, w - 2))


def conv_grouped(b: Builder, x: Value) -> Value:
    groups = b.pick(*divisors(x.width))
    return b.conv(x, groups * b.pick(1, 2, 3) if groups > 4 else groups * b.pick(2, 3, 4), groups=groups)


def conv_depthwise(b: Builder, x: Value) -> Value:
    stride = 2 if shrinkable(b, x) and b.chance(0.3) else 1
    return b.conv(x, x.width, groups=x.width, stride=stride, kernel=b.pick(3, 5), bias=b.chance(0.6))


def conv_depthwise_multiplier(b: Builder, x: Value) -> Value:
    return b.conv(x, 2 * x.width, groups=x.width)


def conv_transpose(b: Builder, x: Value, groups: int = 1) -> Value:
    (n, c, h, w), out = x.shape, groups * b.pick(2, 3, 4) if groups > 1 else some_width(b)
    kernel, stride = (2, 2) if growable(b, x) else (3, 1)
    pad = 1 if stride == 1 else 0
    weight = b.weight(c, out // groups, kernel, kernel, fan_in=c // groups * (9 if stride == 1 else 1))
    terms = [x, weight, b.bias(out)] if b.chance(0.7) else [x, weight]
    shape = (n, out, stride * h, stride * w)
    return b.op("ConvTranspose", *terms, shape=shape, group=groups, strides=[stride] * 2, pads=[pad] * 4)


def conv_transpose_grouped(b: Builder, x: Value) -> Value:
    return conv_transpose(b, x, b.pick(*divisors(x.width)))


def conv_rows(b: Builder, x: Value) -> Value:
    """A 1-D convolution over the flattened pixels."""
    n, c, h, w = x.shape
    y = b.conv(b.reshape(x, n, c, h * w), c + 2)
    return b.reshape(y, n, c + 2, h, w)


def conv_volume(b: Builder, x: Value) -> Value:
    """A 3-D convolution on a volume of depth 1."""
    out = some_width(b)
    return b.squeeze(b.conv(b.unsqueeze(x, 2), out), 2)


def batch_norm(b: Builder, x: Value) -> Value:
    return b.batch_norm(x)


def batch_norm_small_steps(b: Builder, x: Value) -> Value:
    """Sub, Div, Mul, Add with one constant a channel: what is left of an unfused normalisation."""
    y = b.op("Sub", x, b.per_channel(x, -0.5, 0.5))
    y = b.op("Div", y, b.per_channel(x))
    return b.op("Add", b.op("Mul", y, b.per_channel(x)), b.per_channel(x, -0.5, 0.5))


def conv_norm_act(b: Builder, x: Value) -> Value:
    return activate(b, b.batch_norm(b.conv(x, some_width(b), bias=b.chance(0.2))))


def conv_weight_norm(b: Builder, x: Value) -> Value:
    """A kernel computed in the graph: g * v / |v|."""
    out = some_width(b)
    v = b.weight(out, x.width, 3, 3, fan_in=9 * x.width)
    length = b.op("Sqrt", b.reduce("ReduceSum", b.op("Mul", v, v), 1, 2, 3))
    weight = b.op("Div", b.op("Mul", b.uniform(out, 1, 1, 1), v), length)
    return b.conv(x, out, weight=weight)


def conv_weight_standard(b: Builder, x: Value) -> Value:
    """A kernel standardised in the graph over its inputs."""
    out = some_width(b)
    weight = b.scaled_mean(b.weight(out, x.width, 3, 3, fan_in=9 * x.width), 1, 2, 3)
    return b.conv(x, out, weight=b.op("Mul", weight, b.scalar(0.15)))


def conv_weight_transposed(b: Builder, x: Value) -> Value:
    """A kernel stored height-width-in-out, as Keras does, and turned in the graph."""
    out = some_width(b)
    stored = b.weight(3, 3, x.width, out, fan_in=9 * x.width)
    return b.conv(x, out, weight=b.transpose(stored, 3, 2, 0, 1))


def conv_weight_reshaped(b: Builder, x: Value) -> Value:
    """A 1x1 kernel stored as a matrix."""
    out = some_width(b)
    stored = b.weight(out, x.width, fan_in=x.width)
    weight = b.op("Reshape", stored, b.ints(out, x.width, 1, 1), shape=(out, x.width, 1, 1))
    return b.conv(x, out, weight=weight)


def conv_twice(b: Builder, x: Value) -> Value:
    """One kernel used by two nodes in a row."""
    weight = b.weight(x.width, x.width, 3, 3, fan_in=9 * x.width)
    return b.conv(activate(b, b.conv(x, x.width, weight=weight)), x.width, weight=weight)


def conv_two_branches_one_kernel(b: Builder, x: Value) -> Value:
    """One kernel on the image and on its pooled self, as detection heads do."""
    out = some_width(b)
    weight = b.weight(out, x.width, 3, 3, fan_in=9 * x.width)
    pooled = b.op("MaxPool", x, shape=x.shape, kernel_shape=[3, 3], pads=[1] * 4)
    return b.op("Add", b.conv(x, out, weight=weight), b.conv(pooled, out, weight=weight, bias=False))


def conv_one_bias(b: Builder, x: Value) -> Value:
    """Two convolutions of other inputs that share one bias vector."""
    n, c, h, w = x.shape
    bias = b.normal(c)
    first = b.op("Conv", x, b.weight(c, c, 1, 1, fan_in=c), bias, shape=x.shape)
    return b.op("Conv", activate(b, first), b.weight(c, c, 1, 1, fan_in=c), bias, shape=(n, c, h, w))


def conv_tied_transpose(b: Builder, x: Value) -> Value:
    """Encode and decode with the same kernel: Conv, then ConvTranspose."""
    hidden = some_width(b)
    weight = b.weight(hidden, x.width, 3, 3, fan_in=9 * x.width)
    y = activate(b, b.conv(x, hidden, weight=weight))
    return b.op("ConvTranspose", y, weight, b.bias(x.width), shape=x.shape, pads=[1] * 4)


def conv_as_einsum(b: Builder, x: Value) -> Value:
    out = some_width(b)
    weight = b.weight(out, x.width, fan_in=x.width)
    shape = (x.shape[0], out, *x.shape[2:])
    return b.op("Einsum", x, weight, shape=shape, equation="nchw,dc->ndhw")


def conv_as_matmul(b: Builder, x: Value) -> Value:
    """W @ pixels: the weight on the left of MatMul."""
    n, c, h, w = x.shape
    out = some_width(b)
    y = b.matmul(b.weight(out, c, fan_in=c), b.reshape(x, n, c, h * w))
    return b.reshape(b.op("Add", y, b.normal(out, 1)), n, out, h, w)


def inverted_residual(b: Builder, x: Value) -> Value:
    """MobileNet: widen, depthwise, narrow, add."""
    y = activate(b, b.batch_norm(b.conv(x, 2 * x.width, kernel=1, bias=False)))
    y = activate(b, b.batch_norm(b.conv(y, y.width, groups=y.width, bias=False)))
    return b.op("Add", x, b.batch_norm(b.conv(y, x.width, kernel=1, bias=False)))


BLOCKS = (
    Block("conv", conv, 4),
    Block("conv_auto_pad", conv_auto_pad),
    Block("conv_uneven_pad", conv_uneven_pad),
    Block("conv_after_pad", conv_after_pad, fits=lambda _, x: min(x.shape[2:]) >= 2),
    Block("conv_grouped", conv_grouped, 2, fits=composite),
    Block("conv_depthwise", conv_depthwise, 2),
    Block("conv_depthwise_multiplier", conv_depthwise_multiplier),
    Block("conv_transpose", conv_transpose),
    Block("conv_transpose_grouped", conv_transpose_grouped, fits=composite),
    Block("conv_rows", conv_rows),
    Block("conv_volume", conv_volume),
    Block("batch_norm", batch_norm, 2),
    Block("batch_norm_small_steps", batch_norm_small_steps),
    Block("conv_norm_act", conv_norm_act, 3),
    Block("conv_weight_norm", conv_weight_norm),
    Block("conv_weight_standard", conv_weight_standard),
    Block("conv_weight_transposed", conv_weight_transposed),
    Block("conv_weight_reshaped", conv_weight_reshaped),
    Block("conv_twice", conv_twice),
    Block("conv_two_branches_one_kernel", conv_two_branches_one_kernel),
    Block("conv_one_bias", conv_one_bias, 2),
    Block("conv_tied_transpose", conv_tied_transpose),
    Block("conv_as_einsum", conv_as_einsum, opset=12),
    Block("conv_as_matmul", conv_as_matmul),
    Block("inverted_residual", inverted_residual),
)
