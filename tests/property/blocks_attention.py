"""Blocks on tokens (N,T,C): attention, in the ways exporters write it and with the extras models add."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from .builder import BATCH, Value
from .growing import Block
from .operators import Builder

Heads = tuple[Value, Value, Value]
"""Queries, keys and values, each (N,H,T,D)."""


def some_heads(b: Builder) -> tuple[int, int]:
    """Numbers of heads and of channels in each."""
    return b.pick((2, 4), (3, 4), (2, 6), (4, 2), (4, 4))


def to_heads(b: Builder, x: Value, heads: int) -> Value:
    """(N,T,H*D) to (N,H,T,D)."""
    n, t, c = x.shape
    return b.transpose(b.reshape(x, n, t, heads, c // heads), 0, 2, 1, 3)


def from_heads(b: Builder, y: Value, out: int) -> Value:
    """(N,H,T,D) to (N,T,out), through the output layer."""
    n, heads, t, depth = y.shape
    return b.linear(b.reshape(b.transpose(y, 0, 2, 1, 3), n, t, heads * depth), out)


def separate(b: Builder, x: Value) -> Heads:
    """A linear layer each."""
    heads, depth = some_heads(b)
    q, k, v = (to_heads(b, b.linear(x, heads * depth, bias=b.chance(0.7)), heads) for _ in "qkv")
    return q, k, v


def fused(b: Builder, x: Value, how: str) -> Heads:
    """One linear layer for all three, taken apart by Gather, Split and Squeeze, or Slice and Squeeze."""
    (heads, depth), (n, t, _) = some_heads(b), x.shape
    y = b.reshape(b.linear(x, 3 * heads * depth), n, t, 3, heads, depth)
    y = b.transpose(y, 2, 0, 3, 1, 4)
    if how == "gather":
        q, k, v = (b.op("Gather", y, b.const(np.int64(i)), shape=y.shape[1:], axis=0) for i in range(3))
    elif how == "split":
        q, k, v = (b.squeeze(part, 0) for part in b.split(y, [1, 1, 1], 0))
    else:
        q, k, v = (b.squeeze(b.slice(y, 0, i, i + 1), 0) for i in range(3))
    return q, k, v


def chunked(b: Builder, x: Value) -> Heads:
    """One linear layer, cut along its outputs before the heads are made."""
    heads, depth = some_heads(b)
    y, c = b.linear(x, 3 * heads * depth), heads * depth
    parts = b.split(y, [c, c, c], 2) if b.chance(0.5) else [b.slice(y, 2, i * c, (i + 1) * c) for i in range(3)]
    q, k, v = (to_heads(b, part, heads) for part in parts)
    return q, k, v


def head_first(b: Builder, x: Value) -> Heads:
    """One linear layer whose outputs are (H, 3, D): GPT-NeoX, ChatGLM."""
    (heads, depth), (n, t, _) = some_heads(b), x.shape
    y = b.transpose(b.reshape(b.linear(x, 3 * heads * depth), n, t, heads, 3 * depth), 0, 2, 1, 3)
    q, k, v = b.split(y, [depth] * 3, 3)
    return q, k, v


FORMS: tuple[Callable[[Builder, Value], Heads], ...] = (
    separate,
    chunked,
    head_first,
    lambda b, x: fused(b, x, "gather"),
    lambda b, x: fused(b, x, "split"),
)


def any_heads(b: Builder, x: Value) -> Heads:
    return b.pick(*FORMS)(b, x)


def scores(b: Builder, q: Value, k: Value) -> Value:
    """q k' / sqrt(D), the scale on q, on both, or on the product, as a number or read off the shape."""
    depth = q.shape[-1]
    where = b.pick("q", "both", "product", "shape")
    if where == "q":
        q = b.op("Mul", q, b.const(np.float32(1 / sqrt(depth))))
    elif where == "both":
        root = b.const(np.float32(depth**-0.25))
        q, k = b.op("Mul", q, root), b.op("Mul", k, root)
    product = b.matmul(q, b.swap(k))
    if where == "product":
        return b.op("Div", product, b.const(np.float32(sqrt(depth))))
    if where == "shape":
        size = b.op("Cast", b.size_at(q, q.rank - 1), shape=(1,), to=1)
        return b.op("Div", product, b.op("Sqrt", size))
    return product


def attend(b: Builder, q: Value, k: Value, v: Value) -> Value:
    return b.matmul(b.softmax(scores(b, q, k), q.rank - 1), v)


def finish(b: Builder, x: Value, y: Value) -> Value:
    """The output layer and the residual."""
    return b.op("Add", x, from_heads(b, y, x.width))


def attention_separate(b: Builder, x: Value) -> Value:
    return finish(b, x, attend(b, *separate(b, x)))


def attention_fused_gather(b: Builder, x: Value) -> Value:
    return finish(b, x, attend(b, *fused(b, x, "gather")))


def attention_fused_split(b: Builder, x: Value) -> Value:
    return finish(b, x, attend(b, *fused(b, x, b.pick("split", "slice"))))


def attention_chunked(b: Builder, x: Value) -> Value:
    return finish(b, x, attend(b, *chunked(b, x)))


def attention_head_first(b: Builder, x: Value) -> Value:
    return finish(b, x, attend(b, *head_first(b, x)))


def attention_bmm(b: Builder, x: Value) -> Value:
    """Batch and heads merged into one axis."""
    (heads, depth), (n, t, _) = some_heads(b), x.shape
    q, k, v = (b.reshape(to_heads(b, b.linear(x, heads * depth), heads), n * heads, t, depth) for _ in "qkv")
    return finish(b, x, b.reshape(attend(b, q, k, v), n, heads, t, depth))


def attention_heads_apart(b: Builder, x: Value) -> Value:
    """Each head cut out, attended and concatenated."""
    heads, depth = some_heads(b)
    cut = [b.split(b.linear(x, heads * depth), [depth] * heads, 2) for _ in "qkv"]
    y = b.concat([attend(b, *parts) for parts in zip(*cut, strict=True)], 2)
    return b.op("Add", x, b.linear(y, x.width))


def attention_einsum(b: Builder, x: Value) -> Value:
    """(N,T,H,D) throughout, with Einsum instead of transposes."""
    (heads, depth), (n, t, _) = some_heads(b), x.shape
    q, k, v = (b.reshape(b.linear(x, heads * depth), n, t, heads, depth) for _ in "qkv")
    logits = b.op("Einsum", q, k, shape=(n, heads, t, t), equation="bqhd,bkhd->bhqk")
    weights = b.softmax(b.op("Mul", logits, b.const(np.float32(1 / sqrt(depth)))), 3)
    y = b.op("Einsum", weights, v, shape=(n, t, heads, depth), equation="bhqk,bkhd->bqhd")
    return b.op("Add", x, b.linear(b.reshape(y, n, t, heads * depth), x.width))


def attention_einsum_weights(b: Builder, x: Value) -> Value:
    """Weights of rank 3, (C,H,D) in and (H,D,C) out, as Keras and Flax have them."""
    (heads, depth), (n, t, c) = some_heads(b), x.shape
    weights = [b.weight(c, heads, depth, fan_in=c) for _ in "qkv"]
    shape = (n, heads, t, depth)
    q, k, v = (b.op("Einsum", x, weight, shape=shape, equation="ntc,chd->nhtd") for weight in weights)
    out = b.weight(heads, depth, c, fan_in=heads * depth)
    y = b.op("Einsum", attend(b, q, k, v), out, shape=x.shape, equation="nhtd,hdc->ntc")
    return b.op("Add", x, y)


def attention_grouped_query(b: Builder, x: Value) -> Value:
    """Fewer heads of keys and values, repeated by Unsqueeze, Expand, Reshape."""
    (heads, depth), (n, t, _), repeats = (4, b.pick(2, 4)), x.shape, 2
    q = to_heads(b, b.linear(x, heads * depth), heads)
    wide = []
    for _ in "kv":
        y = b.unsqueeze(to_heads(b, b.linear(x, heads // repeats * depth), heads // repeats), 2)
        y = b.expand(y, (n, heads // repeats, repeats, t, depth), like=x)
        wide.append(b.reshape(y, n, heads, t, depth))
    return finish(b, x, attend(b, q, *wide))


def attention_multi_query(b: Builder, x: Value) -> Value:
    """One head of keys and values, broadcast."""
    heads, depth = some_heads(b)
    q = to_heads(b, b.linear(x, heads * depth), heads)
    k, v = (b.unsqueeze(b.linear(x, depth), 1) for _ in "kv")
    return finish(b, x, attend(b, q, k, v))


def rotary_tables(t: int, depth: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines, float32[T, D/2], of angles none of which is zero."""
    angles = np.outer(np.arange(t), 0.5 ** np.arange(depth // 2)) + 0.3
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def attention_rope(b: Builder, x: Value) -> Value:
    """Rotary positions: x cos + rotate_half(x) sin, tables constant."""
    q, k, v = any_heads(b, x)
    t, depth = q.shape[2:]
    cos, sin = (b.const(np.concatenate([table] * 2, 1)[None, None]) for table in rotary_tables(t, depth))

    def turn(y: Value) -> Value:
        if b.chance(0.5):
            low, high = b.split(y, [depth // 2] * 2, 3)
        else:
            low, high = b.slice(y, 3, 0, depth // 2), b.slice(y, 3, depth // 2, depth)
        turned = b.concat([b.op("Neg", high), low], 3)
        return b.op("Add", b.op("Mul", y, cos), b.op("Mul", turned, sin))

    return finish(b, x, attend(b, turn(q), turn(k), v))


def attention_rope_pairs(b: Builder, x: Value) -> Value:
    """Rotary positions on neighbouring pairs: (D/2, 2), the two taken apart and stacked again."""
    q, k, v = any_heads(b, x)
    n, heads, t, depth = q.shape
    cos, sin = (b.const(table[..., None]) for table in rotary_tables(t, depth))

    def turn(y: Value) -> Value:
        even, odd = b.split(b.reshape(y, n, heads, t, depth // 2, 2), [1, 1], 4)
        first = b.op("Sub", b.op("Mul", even, cos), b.op("Mul", odd, sin))
        second = b.op("Add", b.op("Mul", even, sin), b.op("Mul", odd, cos))
        return b.reshape(b.concat([first, second], 4), n, heads, t, depth)

    return finish(b, x, attend(b, turn(q), turn(k), v))


def weighted(b: Builder, logits: Value, x: Value, v: Value) -> Value:
    return finish(b, x, b.matmul(b.softmax(logits, 3), v))


def attention_relative_bias(b: Builder, x: Value) -> Value:
    """A constant (1,H,T,T), or one row of a table for each distance."""
    q, k, v = any_heads(b, x)
    heads, t = q.shape[1:3]
    if b.chance(0.5):
        bias = b.normal(1, heads, t, t, std=1.0)
    else:
        distance = (np.arange(t)[:, None] - np.arange(t) + t - 1).ravel()
        rows = b.gather(b.normal(2 * t - 1, heads, std=1.0), distance, 0)
        bias = b.op("Reshape", rows, b.ints(t, t, heads), shape=(t, t, heads))
        bias = b.unsqueeze(b.transpose(bias, 2, 0, 1), 0)
    return weighted(b, b.op("Add", scores(b, q, k), bias), x, v)


def attention_head_scale(b: Builder, x: Value) -> Value:
    """One temperature for each head, sometimes through Exp and Clip."""
    q, k, v = any_heads(b, x)
    scale = b.uniform(q.shape[1], 1, 1)
    scale = b.op("Exp", b.clip(scale, None, 4.0)) if b.chance(0.5) else scale
    return weighted(b, b.op("Mul", scores(b, q, k), scale), x, v)


def attention_talking_heads(b: Builder, x: Value) -> Value:
    """Linear layers across the heads, before and after the softmax."""
    q, k, v = any_heads(b, x)
    heads = q.shape[1]

    def mix(y: Value) -> Value:
        return b.transpose(b.linear(b.transpose(y, 0, 2, 3, 1), heads), 0, 3, 1, 2)

    logits = b.conv(scores(b, q, k), heads, kernel=1) if b.chance(0.4) else mix(scores(b, q, k))
    return finish(b, x, b.matmul(mix(b.softmax(logits, 3)), v))


def attention_unit_length(b: Builder, x: Value) -> Value:
    """Cosine attention: q and k divided by their lengths, which are expanded first."""
    q, k, v = any_heads(b, x)
    unit = []
    for y in (q, k):
        length = b.clip(b.reduce("ReduceL2", y, 3), 1e-6, None)
        unit.append(b.op("Div", y, b.expand(length, y.shape, like=x)))
    logits = b.op("Mul", b.matmul(unit[0], b.swap(unit[1])), b.uniform(q.shape[1], 1, 1, low=2.0, high=5.0))
    return weighted(b, logits, x, v)


def attention_normed(b: Builder, x: Value) -> Value:
    """q and k normalised over the channels of each head, with one scale for all heads."""
    q, k, v = any_heads(b, x)
    depth = q.shape[3]
    q, k = (b.op("Mul", b.scaled_mean(y, 3), b.uniform(depth)) for y in (q, k))
    return finish(b, x, attend(b, q, k, v))


def attention_causal(b: Builder, x: Value) -> Value:
    """No look ahead: a large negative number added, or put in by Where."""
    q, k, v = any_heads(b, x)
    t = q.shape[2]
    seen = np.tril(np.ones((t, t), bool))
    logits = scores(b, q, k)
    if b.chance(0.5):
        logits = b.op("Where", b.const(seen[None, None]), logits, b.const(np.float32(-1e9)))
    else:
        logits = b.op("Add", logits, b.const(np.where(seen, 0, -3e38).astype(np.float32)))
    return weighted(b, logits, x, v)


def attention_latents(b: Builder, x: Value) -> Value:
    """Perceiver: learned queries, expanded over the batch, read the tokens."""
    (heads, depth), n = some_heads(b), x.shape[0]
    learned = b.normal(1, heads, 5, depth, std=1.0)
    q = b.expand(learned, (n, heads, 5, depth), like=x) if b.chance(0.5) else learned
    k, v = (to_heads(b, b.linear(x, heads * depth), heads) for _ in "kv")
    return from_heads(b, attend(b, q, k, v), x.width)


def attention_cross(b: Builder, x: Value) -> Value:
    """Queries from the tokens, keys and values from an average of neighbours."""
    heads, depth = some_heads(b)
    t = x.shape[1]
    other = b.op("Add", b.slice(x, 1, 0, t - 1), b.slice(x, 1, 1, t))
    q = to_heads(b, b.linear(x, heads * depth), heads)
    k, v = (to_heads(b, b.linear(other, heads * depth), heads) for _ in "kv")
    return finish(b, x, attend(b, q, k, v))


def attention_linear(b: Builder, x: Value) -> Value:
    """No softmax: elu + 1 on q and k, keys meet values first."""
    q, k, v = any_heads(b, x)
    q, k = (b.op("Add", b.op("Elu", y), b.const(np.float32(1.1))) for y in (q, k))
    state = b.matmul(b.swap(k), v)
    total = b.op("Add", b.matmul(q, b.swap(b.reduce("ReduceSum", k, 2))), b.const(np.float32(1e-3)))
    return finish(b, x, b.op("Div", b.matmul(q, state), total))


def attention_channels(b: Builder, x: Value) -> Value:
    """XCiT: channels of a head attend to one another."""
    q, k, v = (b.swap(y) for y in any_heads(b, x))
    weights = b.softmax(b.op("Mul", b.matmul(q, b.swap(k)), b.uniform(q.shape[1], 1, 1)), 3)
    return finish(b, x, b.swap(b.matmul(weights, v)))


def attention_operator(b: Builder, x: Value) -> Value:
    """The Attention operator on (N,H,T,D), or on (N,T,H*D) with the numbers of heads as attributes."""
    if b.chance(0.5):
        q, k, v = any_heads(b, x)
        return finish(b, x, b.op("Attention", q, k, v, shape=q.shape, scale=0.5, is_causal=b.pick(0, 1)))
    heads, depth = some_heads(b)
    q, k, v = (b.linear(x, heads * depth) for _ in "qkv")
    y = b.op("Attention", q, k, v, shape=q.shape, q_num_heads=heads, kv_num_heads=heads)
    return b.op("Add", x, b.linear(y, x.width))


def attention_time_first(b: Builder, x: Value) -> Value:
    """torch's MultiheadAttention: (T,N,C) and, with the heads beside the batch, (N*H,T,D)."""
    (heads, depth), (n, t, c) = some_heads(b), x.shape
    y = b.transpose(x, 1, 0, 2)
    q, k, v = (b.transpose(b.reshape(b.linear(y, heads * depth), t, heads * n, depth), 1, 0, 2) for _ in "qkv")
    y = b.reshape(b.transpose(attend(b, q, k, v), 1, 0, 2), t, BATCH, heads * depth)
    return b.op("Add", x, b.transpose(b.linear(y, c), 1, 0, 2))


BLOCKS = (
    Block("attention_separate", attention_separate, 1.5),
    Block("attention_fused_gather", attention_fused_gather, 1.5),
    Block("attention_fused_split", attention_fused_split),
    Block("attention_chunked", attention_chunked),
    Block("attention_head_first", attention_head_first),
    Block("attention_bmm", attention_bmm),
    Block("attention_heads_apart", attention_heads_apart),
    Block("attention_einsum", attention_einsum, opset=12),
    Block("attention_einsum_weights", attention_einsum_weights, opset=12),
    Block("attention_grouped_query", attention_grouped_query, 1.5),
    Block("attention_multi_query", attention_multi_query),
    Block("attention_rope", attention_rope, 1.5),
    Block("attention_rope_pairs", attention_rope_pairs),
    Block("attention_relative_bias", attention_relative_bias, 1.5),
    Block("attention_head_scale", attention_head_scale),
    Block("attention_talking_heads", attention_talking_heads),
    Block("attention_unit_length", attention_unit_length),
    Block("attention_normed", attention_normed),
    Block("attention_causal", attention_causal),
    Block("attention_latents", attention_latents),
    Block("attention_cross", attention_cross, fits=lambda _, x: x.shape[1] >= 3),
    Block("attention_linear", attention_linear),
    Block("attention_channels", attention_channels),
    Block("attention_operator", attention_operator, 4, 23),
    Block("attention_time_first", attention_time_first),
)
