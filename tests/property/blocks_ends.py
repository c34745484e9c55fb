"""Where graphs begin, change between images, tokens and features, and end."""

from __future__ import annotations

from math import prod

from .activations import activate
from .blocks_conv import some_width
from .builder import BATCH, Value
from .growing import VOCABULARY, Block, Net
from .operators import Builder

CLASSES = 5


# beginnings
def image_stem(net: Net) -> tuple[Value, Block]:
    sides = [net.b.pick(6, 7, 8, 9, 10) for _ in range(2)]
    x = net.input("image", BATCH, 3, *sides)
    return x, Block("image_stem", lambda b, v: b.conv(v, some_width(b), kernel=3))


def patch_stem(net: Net) -> tuple[Value, Block]:
    """ViT's patches: a strided Conv, then tokens."""
    x = net.input("image", BATCH, 3, 8, 2 * net.b.pick(3, 4))

    def patches(b: Builder, v: Value) -> Value:
        n, c, h, w = v.shape
        out = b.pick(8, 12)
        weight = b.weight(out, c, 2, 2, fan_in=4 * c)
        y = b.op("Conv", v, weight, b.bias(out), shape=(n, out, h // 2, w // 2), strides=[2, 2])
        return b.transpose(b.reshape(y, n, out, h * w // 4), 0, 2, 1)

    return x, Block("patch_stem", patches)


def token_stem(net: Net) -> tuple[Value, Block]:
    x = net.input("tokens", BATCH, net.b.pick(4, 5, 6, 8), net.b.pick(6, 7, 9))
    return x, Block("token_stem", lambda b, v: b.linear(v, b.pick(8, 12, 16)))


def embedding_stem(net: Net) -> tuple[Value, Block]:
    """Token numbers to rows of a table."""
    x = net.input("ids", BATCH, net.b.pick(4, 5, 6, 8), tokens=True)

    def embed(b: Builder, v: Value) -> Value:
        width = b.pick(8, 12, 16)
        table = b.weight(VOCABULARY, width, fan_in=1)
        b.tables += [table] if table.name in b.arrays else []
        y = b.op("Gather", table, v, shape=(*v.shape, width), axis=0)
        return b.op("Add", y, b.normal(v.shape[1], width))

    return x, Block("embedding_stem", embed)


def feature_stem(net: Net) -> tuple[Value, Block]:
    x = net.input("features", BATCH, net.b.pick(6, 7, 10))
    return x, Block("feature_stem", lambda b, v: b.linear(v, b.pick(8, 12, 16)))


STEMS = (image_stem, image_stem, image_stem, patch_stem, token_stem, token_stem, embedding_stem, feature_stem)


# conversions
def image_to_tokens(b: Builder, x: Value) -> Value:
    n, c, h, w = x.shape
    if b.chance(0.5):
        return b.transpose(b.reshape(x, n, c, h * w), 0, 2, 1)
    if b.chance(0.4):
        return _rows(b, x)
    return b.reshape(b.transpose(x, 0, 2, 3, 1), n, h * w, c)


def _rows(b: Builder, x: Value) -> Value:
    """Tokens are image rows; channels and columns merge."""
    n, c, h, w = x.shape
    return b.linear(b.reshape(b.transpose(x, 0, 2, 1, 3), n, h, c * w), 8)


def image_to_features(b: Builder, x: Value) -> Value:
    """Pool and flatten, or flatten everything into a linear layer."""
    n, c, h, w = x.shape
    how = b.pick("pool", "mean", "flatten", "flatten", "both")
    if how == "mean":
        return b.reduce("ReduceMean", x, 2, 3, keep=False)
    if how == "flatten":
        flat = b.op("Flatten", x, shape=(n, c * h * w)) if b.chance(0.5) else b.reshape(x, n, c * h * w)
        return b.linear(flat, 12)
    kinds = ["GlobalAveragePool", "GlobalMaxPool"]
    pooled = [b.op(kind, x, shape=(n, c, 1, 1)) for kind in (kinds if how == "both" else kinds[:1])]
    y = b.concat(pooled, 1) if how == "both" else pooled[0]
    if b.chance(0.4):
        return b.squeeze(b.squeeze(y, 3), 2)
    return b.op("Flatten", y, shape=(n, y.width), axis=1)


def tokens_to_image(b: Builder, x: Value) -> Value:
    n, t, c = x.shape
    h = max(d for d in range(1, t) if t % d == 0 and d * d <= t)
    return b.reshape(b.transpose(x, 0, 2, 1), n, c, h, t // h)


def tokens_to_features(b: Builder, x: Value) -> Value:
    """The mean or maximum over tokens, the first token, or all of them flattened."""
    n, t, c = x.shape
    how = b.pick("ReduceMean", "ReduceMax", "first", "first", "flatten")
    if how == "first":
        if b.chance(0.5):
            return b.squeeze(b.gather(x, [0], 1), 1)
        return b.squeeze(b.slice(x, 1, 0, 1), 1)
    if how == "flatten":
        return b.linear(b.reshape(x, n, t * c), 12)
    return b.reduce(how, x, 1, keep=False)


def features_to_image(b: Builder, x: Value) -> Value:
    """A generator's start: linear, then channels and pixels out of one axis."""
    y = b.linear(x, 8 * 9)
    if b.chance(0.7):
        return b.reshape(y, x.shape[0], 8, 3, 3)
    return b.transpose(b.reshape(y, x.shape[0], 3, 3, 8), 0, 3, 1, 2)


def features_to_tokens(b: Builder, x: Value) -> Value:
    return b.reshape(b.linear(x, 4 * 8), x.shape[0], 4, 8)


# endings
def image_head(b: Builder, x: Value) -> Value:
    """Conv alone, Conv and pooling, pooling and Gemm, or Flatten and Gemm."""
    n, c = x.shape[:2]
    how = b.pick("conv", "conv_pool", "pool_gemm", "pool_gemm", "flatten_gemm")
    if how == "conv":
        return b.conv(x, CLASSES, kernel=1)
    if how == "conv_pool":
        pooled = b.op("GlobalAveragePool", b.conv(x, CLASSES, kernel=1), shape=(n, CLASSES, 1, 1))
        return b.op("Flatten", pooled, shape=(n, CLASSES))
    if how == "pool_gemm":
        x = b.op("GlobalAveragePool", x, shape=(n, c, 1, 1))
    return b.gemm(b.op("Flatten", x, shape=(n, prod(x.shape[1:]))), CLASSES)


def tokens_head(b: Builder, x: Value) -> Value:
    """A linear layer on every token, with the embedding's table where there is one, or on a summary."""
    how = b.pick("each", "summary", "tied")
    tables = [table for table in b.tables if table.shape[1] == x.width]
    if how == "tied" and tables:
        return b.matmul(x, b.transpose(tables[0], 1, 0))
    return b.linear(x if how == "each" else tokens_to_features(b, x), CLASSES)


def features_head(b: Builder, x: Value) -> Value:
    y = b.gemm(activate(b, x), CLASSES)
    return b.softmax(y, 1) if b.chance(0.2) else y


CONVERSIONS = {
    4: (
        Block("image_to_tokens", image_to_tokens, 2, fits=lambda _, x: prod(x.shape[2:]) <= 40),
        Block("image_to_features", image_to_features),
    ),
    3: (
        Block("tokens_to_image", tokens_to_image, 1.5, fits=lambda _, x: x.shape[1] >= 4),
        Block("tokens_to_features", tokens_to_features),
    ),
    2: (Block("features_to_image", features_to_image), Block("features_to_tokens", features_to_tokens)),
}

HEADS = {
    4: Block("image_head", image_head),
    3: Block("tokens_head", tokens_head),
    2: Block("features_head", features_head),
}
