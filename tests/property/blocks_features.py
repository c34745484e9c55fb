"""Blocks on feature vectors (N,C)."""

from __future__ import annotations

import numpy as np

from .activations import activate
from .blocks_conv import composite, divisors
from .builder import Value
from .growing import Block
from .operators import Builder

WIDTHS = (6, 8, 8, 12, 12, 16)


def gemm(b: Builder, x: Value) -> Value:
    return b.gemm(x, b.pick(*WIDTHS), bias=b.chance(0.8))


def gemm_bias_forms(b: Builder, x: Value) -> Value:
    """The third operand as a row, a single number, or a number of rank 0, scaled by beta."""
    out = b.pick(*WIDTHS)
    bias = b.normal(*b.pick((1, out), (1,), (), (out,)))
    weight = b.weight(x.width, out, fan_in=x.width)
    return b.op("Gemm", x, weight, bias, shape=(x.shape[0], out), alpha=0.8, beta=b.pick(1.0, 1.7))


def gemm_turned_input(b: Builder, x: Value) -> Value:
    """The input transposed by a node and turned back by transA."""
    out = b.pick(*WIDTHS)
    weight = b.weight(out, x.width, fan_in=x.width)
    return b.op("Gemm", b.swap(x), weight, b.bias(out), shape=(x.shape[0], out), transA=1, transB=1)


def gemm_weight_left(b: Builder, x: Value) -> Value:
    """W x': the weight as first operand, the bias as a column, the result turned back."""
    out, flip = b.pick(*WIDTHS), b.chance(0.5)
    weight = b.weight(*((x.width, out) if flip else (out, x.width)), fan_in=x.width)
    terms = [weight, x, b.normal(out, 1)]
    return b.swap(b.op("Gemm", *terms, shape=(out, x.shape[0]), transA=int(flip), transB=1))


def gemm_weight_transposed(b: Builder, x: Value) -> Value:
    """A Transpose node between the weight and Gemm."""
    out = b.pick(*WIDTHS)
    weight = b.transpose(b.weight(out, x.width, fan_in=x.width), 1, 0)
    return b.op("Gemm", x, weight, b.bias(out), shape=(x.shape[0], out))


def linear(b: Builder, x: Value) -> Value:
    return b.linear(x, b.pick(*WIDTHS))


def mlp(b: Builder, x: Value) -> Value:
    return b.linear(activate(b, b.linear(x, 2 * x.width)), b.pick(*WIDTHS))


def autoencoder(b: Builder, x: Value) -> Value:
    """Down and up with one matrix: Gemm with transB on the way in, without on the way out."""
    weight = b.weight(5, x.width, fan_in=x.width)
    y = activate(b, b.op("Gemm", x, weight, b.bias(5), shape=(x.shape[0], 5), transB=1))
    return b.op("Gemm", y, weight, b.bias(x.width), shape=x.shape)


def batch_norm_features(b: Builder, x: Value) -> Value:
    return b.batch_norm(x)


def layer_norm_features(b: Builder, x: Value) -> Value:
    if b.opset >= 17 and b.chance(0.5):
        return b.op("LayerNormalization", x, b.uniform(x.width), b.normal(x.width), shape=x.shape)
    return b.op("Add", b.op("Mul", b.scaled_mean(x, 1), b.uniform(x.width)), b.normal(x.width))


def group_norm_features(b: Builder, x: Value) -> Value:
    groups = b.pick(*divisors(x.width))
    y = b.scaled_mean(b.reshape(x, x.shape[0], groups, x.width // groups), 2)
    return b.op("Mul", b.reshape(y, *x.shape), b.uniform(x.width))


def outer_product(b: Builder, x: Value) -> Value:
    """Bilinear pooling: every channel times every channel, flattened."""
    a, d = b.linear(x, 4), b.linear(x, 3)
    y = b.op("Mul", b.unsqueeze(a, 2), b.unsqueeze(d, 1))
    return b.linear(b.reshape(y, x.shape[0], 12), 8)


def cross_layer(b: Builder, x: Value) -> Value:
    """Deep & Cross: x * (x W + b) + x."""
    return b.op("Add", b.op("Mul", x, b.linear(x, x.width)), x)


def factorisation(b: Builder, x: Value) -> Value:
    """Sum over groups: (N,G,K) to (N,K), minus the sum of squares."""
    groups = divisors(x.width)[0]
    y = b.reshape(x, x.shape[0], groups, x.width // groups)
    total = b.reduce("ReduceSum", y, 1, keep=False)
    squares = b.reduce("ReduceSumSquare", y, 1, keep=False)
    return b.op("Sub", b.op("Mul", total, total), squares)


def prototypes(b: Builder, x: Value) -> Value:
    """Distances to learned points: |x|^2 - 2 x p' + |p|^2."""
    points = b.weight(8, x.width, fan_in=2)
    product = b.matmul(x, b.transpose(points, 1, 0))
    own = b.reduce("ReduceSumSquare", x, 1)
    theirs = b.reduce("ReduceSumSquare", points, 1, keep=False)
    y = b.op("Sub", own, b.op("Mul", product, b.scalar(2.0)))
    return b.op("Sqrt", b.op("Add", b.op("Abs", b.op("Add", y, theirs)), b.scalar(0.1)))


def flatten_axes(b: Builder, x: Value) -> Value:
    """Flatten along another axis than 1, between Unsqueezes."""
    groups = divisors(x.width)[0]
    y = b.reshape(x, x.shape[0], 1, groups, x.width // groups)
    return b.op("Flatten", y, shape=x.shape, axis=b.pick(1, -3))


def one_pixel_conv(b: Builder, x: Value) -> Value:
    """Features as an image of one pixel."""
    n, c = x.shape
    y = b.conv(b.reshape(x, n, c, 1, 1), 8, kernel=1)
    return b.op("Flatten", y, shape=(n, 8))


def mixture_head(b: Builder, x: Value) -> Value:
    """Softmax weights times values, both from the features, summed."""
    n = x.shape[0]
    weights = b.softmax(b.reshape(b.linear(x, 12), n, 3, 4), 1)
    values = b.reshape(b.linear(x, 12), n, 3, 4)
    return b.reduce("ReduceSum", b.op("Mul", weights, values), 1, keep=False)


def einsum_bilinear(b: Builder, x: Value) -> Value:
    """torch's Bilinear: a weight of rank 3 between two projections."""
    left, right = b.linear(x, 5), b.linear(x, 4)
    weight = b.weight(6, 5, 4, fan_in=20)
    y = b.op("Einsum", left, weight, shape=(x.shape[0], 6, 4), equation="bi,oij->boj")
    return b.op("Einsum", y, right, shape=(x.shape[0], 6), equation="boj,bj->bo")


def table_lookup(b: Builder, x: Value) -> Value:
    """A row of a learned table, chosen by the largest of the features, beside them."""
    index = b.op("ArgMax", x, shape=x.shape[:1], axis=1, keepdims=0)
    rows = b.op("Gather", b.normal(x.width, 4, std=0.5), index, shape=(x.shape[0], 4), axis=0)
    return b.concat([x, rows], 1)


def constant_power(b: Builder, x: Value) -> Value:
    """|x| + 1 to a learned power each."""
    base = b.op("Add", b.op("Abs", x), b.const(np.float32(1)))
    return b.op("Pow", base, b.per_channel(x))


BLOCKS = (
    Block("gemm", gemm, 4),
    Block("gemm_bias_forms", gemm_bias_forms, 2),
    Block("gemm_turned_input", gemm_turned_input),
    Block("gemm_weight_left", gemm_weight_left, 1.5),
    Block("gemm_weight_transposed", gemm_weight_transposed),
    Block("linear", linear, 2),
    Block("mlp", mlp, 2),
    Block("autoencoder", autoencoder),
    Block("batch_norm_features", batch_norm_features),
    Block("layer_norm_features", layer_norm_features),
    Block("group_norm_features", group_norm_features, fits=composite),
    Block("outer_product", outer_product),
    Block("cross_layer", cross_layer),
    Block("factorisation", factorisation, fits=composite),
    Block("prototypes", prototypes),
    Block("flatten_axes", flatten_axes, fits=composite),
    Block("one_pixel_conv", one_pixel_conv),
    Block("mixture_head", mixture_head),
    Block("einsum_bilinear", einsum_bilinear, opset=12),
    Block("table_lookup", table_lookup),
    Block("constant_power", constant_power),
)
