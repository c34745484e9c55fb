"""Blocks on tokens (N,T,C): norms, feed-forward layers, mixers, embeddings."""

from __future__ import annotations

import numpy as np

from .activations import activate, gelu
from .blocks_conv import composite, divisors
from .builder import Value
from .growing import Block
from .operators import Builder

WIDTHS = (6, 8, 8, 12, 12, 16)


def short(_: Builder, x: Value) -> bool:
    return x.shape[1] <= 16


def long(_: Builder, x: Value) -> bool:
    return x.shape[1] >= 4


def linear(b: Builder, x: Value) -> Value:
    return b.linear(x, b.pick(*WIDTHS), bias=b.chance(0.8))


def linear_flat(b: Builder, x: Value) -> Value:
    """Tokens as rows of one Gemm."""
    (n, t, c), out = x.shape, b.pick(*WIDTHS)
    return b.reshape(b.gemm(b.reshape(x, n * t, c), out), n, t, out)


def linear_pointwise_conv(b: Builder, x: Value) -> Value:
    """A linear layer as Conv1d between transposes."""
    y = b.conv(b.transpose(x, 0, 2, 1), b.pick(*WIDTHS), kernel=b.pick(1, 3))
    return b.transpose(y, 0, 2, 1)


def linear_tied(b: Builder, x: Value) -> Value:
    """One matrix going in and, transposed, coming out: MatMul(x, W), then MatMul(y, W')."""
    weight = b.weight(x.width, 10, fan_in=x.width)
    y = activate(b, b.op("Add", b.matmul(x, weight), b.bias(10)))
    return b.op("Add", b.matmul(y, b.transpose(weight, 1, 0)), b.bias(x.width))


def linear_twice(b: Builder, x: Value) -> Value:
    """One square matrix used by two nodes in a row."""
    weight, bias = b.weight(x.width, x.width, fan_in=x.width), b.bias(x.width)
    for _ in range(2):
        x = activate(b, b.op("Add", b.matmul(x, weight), bias))
    return x


def linear_lora(b: Builder, x: Value) -> Value:
    """A kernel with a low-rank correction added in the graph: x (W + A B)."""
    out = b.pick(*WIDTHS)
    low_rank = b.matmul(b.weight(x.width, 2, fan_in=2), b.weight(2, out, fan_in=x.width))
    weight = b.op("Add", b.weight(x.width, out, fan_in=x.width), low_rank)
    return b.matmul(x, weight)


def linear_low_rank(b: Builder, x: Value) -> Value:
    return b.linear(b.linear(x, 4, bias=False), b.pick(*WIDTHS))


def mlp(b: Builder, x: Value) -> Value:
    y = b.linear(gelu(b, b.linear(x, 2 * x.width)), x.width)
    return b.op("Add", x, y)


def swiglu(b: Builder, x: Value) -> Value:
    """Two linear layers, one gating the other through SiLU, and one back."""
    gate, up = b.linear(x, 10, bias=False), b.linear(x, 10, bias=False)
    y = b.op("Mul", b.op("Mul", gate, b.op("Sigmoid", gate)), up)
    return b.op("Add", x, b.linear(y, x.width, bias=False))


def swiglu_split(b: Builder, x: Value) -> Value:
    """One linear layer, cut in two by Split or by Slice."""
    y = b.linear(x, 16)
    parts = b.split(y, [8, 8], 2) if b.chance(0.5) else [b.slice(y, 2, 0, 8), b.slice(y, 2, 8, 16)]
    y = b.op("Mul", parts[0], b.op(b.pick("Sigmoid", "Tanh"), parts[1]))
    return b.linear(y, x.width)


def affine(b: Builder, x: Value) -> Value:
    return b.op("Add", b.op("Mul", x, b.uniform(x.width)), b.normal(x.width))


def layer_norm(b: Builder, x: Value) -> Value:
    terms = [b.uniform(x.width), b.normal(x.width)] if b.chance(0.8) else [b.uniform(x.width)]
    return b.op("LayerNormalization", x, *terms, shape=x.shape, axis=b.pick(-1, 2))


def layer_norm_steps(b: Builder, x: Value) -> Value:
    return affine(b, b.scaled_mean(x, 2))


def rms_norm_steps(b: Builder, x: Value) -> Value:
    """x * 1/sqrt(mean(x^2) + eps) * g."""
    mean = b.reduce("ReduceMean", b.op("Pow", x, b.scalar(2.0)), 2)
    root = b.op("Sqrt", b.op("Add", mean, b.const(np.float32(1e-5))))
    y = b.op("Mul", x, b.op("Reciprocal", root)) if b.chance(0.5) else b.op("Div", x, root)
    return b.op("Mul", b.uniform(x.width), y)


def rms_norm(b: Builder, x: Value) -> Value:
    return b.op("RMSNormalization", x, b.uniform(x.width), shape=x.shape, axis=-1)


def group_norm_tokens(b: Builder, x: Value) -> Value:
    """Each head's channels normalised on their own: Reshape, small steps, Reshape."""
    n, t, c = x.shape
    groups = b.pick(*divisors(c))
    y = b.scaled_mean(b.reshape(x, n, t, groups, c // groups), 3)
    return affine(b, b.reshape(y, n, t, c))


def instance_norm_tokens(b: Builder, x: Value) -> Value:
    y = b.transpose(x, 0, 2, 1)
    y = b.op("InstanceNormalization", y, b.uniform(x.width), b.normal(x.width), shape=y.shape)
    return b.transpose(y, 0, 2, 1)


def batch_norm_tokens(b: Builder, x: Value) -> Value:
    return b.transpose(b.batch_norm(b.transpose(x, 0, 2, 1)), 0, 2, 1)


def l2_norm(b: Builder, x: Value) -> Value:
    """x / max(|x|, eps) as torch exports it: ReduceL2, Clip, Expand, Div; then a learned scale."""
    length = b.clip(b.reduce("ReduceL2", x, 2), 1e-6, None)
    taken = b.op("Shape", x, shape=(3,))
    y = b.op("Div", x, b.op("Expand", length, taken, shape=x.shape))
    return b.op("Mul", y, b.uniform(x.width, low=2.0, high=4.0))


def lp_norm_tokens(b: Builder, x: Value) -> Value:
    return b.op("Mul", b.op("LpNormalization", x, axis=b.pick(-1, 2), p=2), b.scalar(3.0))


def position_embedding(b: Builder, x: Value) -> Value:
    """A learned table, whole or sliced out of a longer one."""
    _, t, c = x.shape
    table = b.normal(1, t, c) if b.chance(0.5) else b.slice(b.normal(1, t + 3, c), 1, 0, t)
    return b.op("Add", x, table)


def position_gather(b: Builder, x: Value) -> Value:
    """Rows of a learned table by constant numbers."""
    _, t, c = x.shape
    return b.op("Add", x, b.gather(b.normal(t + 2, c), np.arange(t), 0))


def class_token(b: Builder, x: Value) -> Value:
    """A learned token, expanded over the batch, ahead of the others."""
    n, _, c = x.shape
    return b.concat([b.expand(b.normal(1, 1, c, std=1.0), (n, 1, c), like=x), x], 1)


def drop_token(b: Builder, x: Value) -> Value:
    return b.slice(x, 1, 1, x.shape[1])


def class_token_only_out(b: Builder, x: Value) -> Value:
    """CaiT: the first token is updated from all, the others pass."""
    _, t, c = x.shape
    first, rest = b.split(x, [1, t - 1], 1)
    mean = b.linear(b.reduce("ReduceMean", x, 1), c)
    return b.concat([b.op("Add", first, mean), rest], 1)


def token_mixer(b: Builder, x: Value) -> Value:
    """MLP-Mixer's first half: linear layers along the tokens."""
    t = x.shape[1]
    y = b.linear(activate(b, b.linear(b.transpose(x, 0, 2, 1), 7)), t)
    return b.op("Add", x, b.transpose(y, 0, 2, 1))


def spatial_gate(b: Builder, x: Value) -> Value:
    """gMLP: half of the channels, mixed along the tokens, gate the other half."""
    y = b.linear(x, 12)
    left, right = b.split(y, [6, 6], 2)
    t = x.shape[1]
    mixed = b.op("Add", b.matmul(b.weight(t, t, fan_in=t), right), b.normal(t, 1))
    return b.linear(b.op("Mul", left, mixed), x.width)


def expert_mix(b: Builder, x: Value) -> Value:
    """Three linear layers stacked in one weight (E,C,O), mixed by a softmax for each token."""
    c, out = x.width, b.pick(*WIDTHS)
    y = b.matmul(b.unsqueeze(x, 1), b.weight(3, c, out, fan_in=c))
    gates = b.softmax(b.linear(x, 3), 2)
    gates = b.unsqueeze(b.transpose(gates, 0, 2, 1), 3)
    return b.reduce("ReduceSum", b.op("Mul", y, gates), 1, keep=False)


def merge_tokens(b: Builder, x: Value) -> Value:
    """Swin's patch merging: neighbours beside one another, then a linear layer."""
    t = x.shape[1] // 2 * 2
    parts = [b.slice(x, 1, start, t, 2) for start in (0, 1)]
    return b.linear(b.concat(parts, 2), x.width, bias=False)


def merge_tokens_reshape(b: Builder, x: Value) -> Value:
    n, t, c = x.shape
    return b.linear(b.reshape(x, n, t // 2, 2 * c), c)


def split_tokens(b: Builder, x: Value) -> Value:
    """A linear layer to two tokens out of each."""
    n, t, c = x.shape
    return b.reshape(b.linear(x, 2 * c), n, 2 * t, c)


def temporal_shift(b: Builder, x: Value) -> Value:
    """TSM: two channels move one token back, two one token on, the others stay."""
    t = x.shape[1]
    back, on, rest = b.split(x, [2, 2, x.width - 4], 2)
    back = b.pad(b.slice(back, 1, 1, t), 1, 0, 1)
    on = b.pad(b.slice(on, 1, 0, t - 1), 1, 1, 0)
    return b.concat([back, on, rest], 2)


def masked_tokens(b: Builder, x: Value) -> Value:
    """Where with a constant mask over tokens and a learned filler."""
    mask = b.const(np.arange(x.shape[1]).reshape(1, -1, 1) % 3 == 0)
    return b.op("Where", mask, b.normal(1, 1, x.width), x)


def repeat_and_average(b: Builder, x: Value) -> Value:
    """Tokens tiled, shifted by a table, averaged back in pairs."""
    n, t, c = x.shape
    y = b.op("Add", b.tile(x, 1, 2), b.normal(2 * t, c))
    return b.reduce("ReduceMean", b.reshape(y, n, 2, t, c), 1, keep=False)


def depthwise_tokens(b: Builder, x: Value) -> Value:
    """A depthwise Conv1d along the tokens beside the input: positional convolution."""
    y = b.transpose(b.conv(b.transpose(x, 0, 2, 1), x.width, groups=x.width), 0, 2, 1)
    return b.op("Add", x, gelu(b, y))


BLOCKS = (
    Block("linear", linear, 4),
    Block("linear_flat", linear_flat, 1.5),
    Block("linear_pointwise_conv", linear_pointwise_conv),
    Block("linear_tied", linear_tied),
    Block("linear_twice", linear_twice),
    Block("linear_lora", linear_lora),
    Block("linear_low_rank", linear_low_rank),
    Block("mlp", mlp, 3),
    Block("swiglu", swiglu, 1.5),
    Block("swiglu_split", swiglu_split, 1.5),
    Block("layer_norm", layer_norm, 2, 17),
    Block("layer_norm_steps", layer_norm_steps, 1.5),
    Block("rms_norm_steps", rms_norm_steps, 1.5),
    Block("rms_norm", rms_norm, 4, 23),
    Block("group_norm_tokens", group_norm_tokens, fits=composite),
    Block("instance_norm_tokens", instance_norm_tokens, fits=lambda _, x: x.shape[1] >= 5),
    Block("batch_norm_tokens", batch_norm_tokens),
    Block("l2_norm", l2_norm),
    Block("lp_norm_tokens", lp_norm_tokens),
    Block("position_embedding", position_embedding),
    Block("position_gather", position_gather),
    Block("class_token", class_token, 1.5, fits=short),
    Block("drop_token", drop_token, fits=long),
    Block("class_token_only_out", class_token_only_out, fits=long),
    Block("token_mixer", token_mixer),
    Block("spatial_gate", spatial_gate),
    Block("expert_mix", expert_mix),
    Block("merge_tokens", merge_tokens, fits=long),
    Block("merge_tokens_reshape", merge_tokens_reshape, fits=lambda _, x: x.shape[1] % 2 == 0),
    Block("split_tokens", split_tokens, fits=short),
    Block("temporal_shift", temporal_shift, fits=lambda _, x: x.width >= 6 and x.shape[1] >= 3),
    Block("masked_tokens", masked_tokens),
    Block("repeat_and_average", repeat_and_average),
    Block("depthwise_tokens", depthwise_tokens),
)
