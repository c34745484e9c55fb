"""A body for each operator that has a record and no signature: what it reads stays whole, what others read does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx

from tests.models import between, tokens

NOUGHT = "float nought = {0}"
Build = Callable[[], onnx.ModelProto]
RIGHT = "int64[3,6,6] right = {" + ",".join(str(k % 16) for k in range(108)) + "}"


def _image(body: str, more: str = "", **options: object) -> Build:
    return lambda: between(body, more=more, **options)


def _token(body: str, more: str = "", **options: object) -> Build:
    return lambda: tokens(body, more=more, **options)


_RANDOM = {
    "RandomNormal": "r = RandomNormal<shape=[3,5,16],seed=1.0>()",
    "RandomNormalLike": "r = RandomNormalLike<seed=1.0>(a)",
    "RandomUniform": "r = RandomUniform<shape=[3,5,16],seed=1.0>()",
    "RandomUniformLike": "r = RandomUniformLike<seed=1.0>(a)",
}
FROZEN: Mapping[str, Build] = {
    "Optional": _token("o = Optional(a)  h = OptionalGetElement(o)  b = Add(a, h)", opset=18),
    "OptionalHasElement": _token("h = OptionalHasElement(a)  f = Cast<to=1>(h)  b = Mul(a, f)"),
    "SequenceMap": _token("""s = SplitToSequence<axis=1>(a, one)  q = SequenceMap<body = g (float[3,1,16] e)
        => (float[3,1,16] f) { f = Relu(e) }>(s)  b = ConcatFromSequence<axis=1>(q)""", "int64 one = {1}"),
    "EyeLike": _token("p = ReduceSum<keepdims=0>(a, first)  e = EyeLike(p)  g = Add(p, e)  b = Add(a, g)",
                      "int64[1] first = {0}"),
    "OneHot": _token("i = ArgMax<axis=2,keepdims=0>(a)  h = OneHot(i, depth, ends)  b = Add(a, h)",
                     "int64 depth = {16}, float[2] ends = {0,1}"),
    "Range": _token("r = Range(first, last, step)  b = Add(a, r)",
                    "float first = {0}, float last = {1.55}, float step = {0.1}"),
    **{name: _token(f"{text}  z0 = Mul(r, nought)  b = Add(a, z0)", NOUGHT) for name, text in _RANDOM.items()},
    "Bernoulli": _token("s = Sigmoid(a)  r = Bernoulli<seed=1.0>(s)  z0 = Mul(r, nought)  b = Add(a, z0)", NOUGHT),
    "Multinomial": _token("""f = Reshape(a, flat)  r = Multinomial<sample_size=4,seed=1.0>(f)  k = Cast<to=1>(r)
        e = ReduceMean<keepdims=1>(k)  z0 = Mul(e, nought)  b = Add(a, z0)""",
                          "int64[2] flat = {3,80}, float nought = {0}"),
    "NonMaxSuppression": _token("""f = Slice(a, from, to, axis)  s = Sigmoid(a)  t = Transpose<perm=[0,2,1]>(s)
        k = NonMaxSuppression(f, t, most)  q = Cast<to=1>(k)  e = ReduceSum<keepdims=0>(q)  h = Tanh(e)
        b = Add(a, h)""",
                                "int64[1] from = {0}, int64[1] to = {4}, int64[1] axis = {2}, int64 most = {2}"),
    "NonZero": _token("z0 = NonZero(a)  f = Cast<to=1>(z0)  e = ReduceMean<keepdims=0>(f)  b = Add(a, e)"),
    "Unique": _token("u, i, j, n = Unique(a)  r = ReduceMax<keepdims=0>(u)  b = Add(a, r)"),
    "BlackmanWindow": _token("k = BlackmanWindow(long)  b = Mul(a, k)", "int64 long = {16}"),
    "HammingWindow": _token("k = HammingWindow(long)  b = Mul(a, k)", "int64 long = {16}"),
    "HannWindow": _token("k = HannWindow(long)  b = Mul(a, k)", "int64 long = {16}"),
    "MelWeightMatrix": _token("k = MelWeightMatrix(mels, long, rate, low, high)  b = MatMul(a, k)", """int64 mels = {6},
        int64 long = {30}, int64 rate = {8000}, float low = {10}, float high = {3000}""", out=6),
    "STFT": _token("s = Reshape(a, flat)  f = STFT(s, step, window)  t = Reshape(f, back)  b = MatMul(t, k)", """
        int64[3] flat = {3,80,1}, int64 step = {16}, float[16] window, int64[3] back = {3,5,18}, float[18,16] k"""),
    "AffineGrid": _image("""m = GlobalAveragePool(a)  f = Flatten(m)  l = MatMul(f, k)  t = Reshape(l, two)
        g = AffineGrid(t, size)  b = GridSample(a, g)""",
                         "float[16,6] k, int64[3] two = {3,2,3}, int64[4] size = {3,16,5,5}", opset=20),
    "Det": _image("d = Det(a)  e = Unsqueeze(d, ends)  g = Sigmoid(e)  b = Mul(a, g)", "int64[2] ends = {2,3}"),
    "NegativeLogLikelihoodLoss": _image("""l = LogSoftmax<axis=1>(a)  n = NegativeLogLikelihoodLoss(l, right)
        b = Add(a, n)""", RIGHT),
    "SoftmaxCrossEntropyLoss": _image("n = SoftmaxCrossEntropyLoss(a, right)  b = Add(a, n)", RIGHT),
    "SimplifiedLayerNormalization": _token("b = SimplifiedLayerNormalization<axis=-1,epsilon=1e-5>(a, s)",
                                           "float[16] s", checked=False),
}  # fmt: skip
"""Operator -> a model with it between two layers; none of CausalConvWithState, LinearAttention and SwiGLU."""
