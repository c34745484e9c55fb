"""Small models for :mod:`benchmarks.proof_mutants`, each with what some part of the program has to get right."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"

TEXTS = {
    "chain": """(float[N,4,8,8] x) => (float[N,3,8,8] y) <float[12,4,3,3] w, float[12] b, float[12] s1, float[12] b1,
        float[12] m1, float[12] s2, float[8,12,1,1] v, float[3,8,1,1] u> {
        a = Conv<pads=[1,1,1,1]>(x, w, b)  n = BatchNormalization<epsilon=0.1>(a, s1, b1, m1, s2)
        r = LeakyRelu<alpha=0.2>(n)  c = Conv(r, v)  d = Relu(c)  y = Conv(d, u) }""",
    "residual": """(float[N,4,8,8] x) => (float[N,3,8,8] y) <float[16,4,1,1] w, float[16,1,3,3] k, float[16,16,1,1] v,
        float[3,16,1,1] u, float[16] sb> {
        a = Conv(x, w, sb)  r = Relu(a)  d = Conv<group=16,pads=[1,1,1,1]>(r, k)  e = Conv(d, v)  f = Sub(a, e)
        y = Conv(f, u) }""",
    "dense": """(float[N,4,8,8] x) => (float[N,3,8,8] y) <float[8,4,1,1] w, float[12,8,1,1] v, float[6,20,1,1] u,
        float[3,6,1,1] t, int64[2] parts = {5, 7}, int64[1] b0 = {1}, int64[1] e0 = {5}, int64[1] a0 = {1}> {
        a = Conv(x, w)  r = Relu(a)  c = Conv(r, v)  p, q = Split<axis=1>(c, parts)  q2 = Sigmoid(q)
        j = Concat<axis=1>(q2, p, a)  h = Conv(j, u)  z = Slice(h, b0, e0, a0)  hh = Concat<axis=1>(z, z)
        g = Relu(h)  y0 = Conv(g, t)  rz = ReduceMean<keepdims=1>(hh, a0)  y = Add(y0, rz) }""",
    "gate": """(float[N,4,8,8] x) => (float[N,5] y) <float[16,4,3,3] w, float[4,16] f1, float[16,4] f2, float[16] c2,
        float[5,16] h> {
        a = Conv(x, w)  r = Relu(a)  p = GlobalAveragePool(r)  q = Flatten(p)  m = Gemm<transB=1>(q, f1)
        mr = Relu(m)  s = Gemm<transB=1,alpha=0.5>(mr, f2, c2)  g = Sigmoid(s)  ax = Constant<value_ints=[2,3]>()
        k = Unsqueeze(g, ax)  z = Mul(r, k)  pz = GlobalAveragePool(z)  fz = Flatten(pz)  y = Gemm<transB=1>(fz, h)
        }""",
    "attention": """(float[N,6,8] x) => (float[N,6,8] y) <float[8,16] wq, float[8,16] wk, float[8,16] wv,
        float[16,8] wo,
        float[8] s1, float[8] c1, float[8,24] f1, float[24] d1, float[24,8] f2, int64[4] to = {0,6,4,4},
        int64[3] back = {0,6,16}, float sc = {0.5}> {
        n = LayerNormalization(x, s1, c1)  q = MatMul(n, wq)  k = MatMul(n, wk)  v = MatMul(n, wv)
        qr = Reshape(q, to)  kr = Reshape(k, to)  vr = Reshape(v, to)  qt = Transpose<perm=[0,2,1,3]>(qr)
        kt = Transpose<perm=[0,2,3,1]>(kr)  vt = Transpose<perm=[0,2,1,3]>(vr)  l = MatMul(qt, kt)  ls = Mul(l, sc)
        p = Softmax<axis=-1>(ls)  o = MatMul(p, vt)  ot = Transpose<perm=[0,2,1,3]>(o)  oc = Reshape(ot, back)
        z = MatMul(oc, wo)  e = Add(x, z)  g = MatMul(e, f1)  gb = Add(g, d1)  gr = Relu(gb)  h = MatMul(gr, f2)
        y = Add(e, h) }""",
    "recurrent": """(float[T,N,6] x) => (float[T,N,5] y) <float[1,32,6] w, float[1,32,8] r, float[1,64] b,
        float[1,24,8] w2,
        float[1,24,8] r2, float[8,5] h, int64[1] one = {1}> {
        a, ah, ac = LSTM<hidden_size=8>(x, w, r, b)  s = Squeeze(a, one)  g, gh = GRU<hidden_size=8>(s, w2, r2)
        q = Squeeze(g, one)  y = MatMul(q, h) }""",
    "embedding": """(int64[N,T] i) => (float[N,T,5] y) <float[20,12] w, float[12] s, float[12] c, float[12,16] f,
        float[16] d,
        float[16,5] h> {
        e = Gather(w, i)  n = LayerNormalization(e, s, c)  a = MatMul(n, f)  b = Add(a, d)  g = Tanh(b)  y =
        MatMul(g, h) }""",
    "shapes": """(float[N,4,8,8] x) => (float[N,M,3] y) <float[12,4,1,1] w, float[12,3] h, int64[1] i0 = {0},
        int64[1] m1 = {-1},
        int64[1] i1 = {1}> {
        a = Conv(x, w)  r = Relu(a)  sh = Shape(r)  n = Gather(sh, i0)  c = Gather(sh, i1)  t = Concat<axis=0>(n,
        c, m1)
        f = Reshape(r, t)  p = Transpose<perm=[0,2,1]>(f)  y = MatMul(p, h) }""",
    "quantised": """(float[N,4,8,8] x) => (float[N,3,8,8] y) <int8[12,4,1,1] w, float[12] sw, int8[12] zw, float sx
        = {0.02},
        int8 zx = {3}, float[3,12,1,1] u> {
        q = QuantizeLinear(x, sx, zx)  d = DequantizeLinear(q, sx, zx)  f = DequantizeLinear<axis=0>(w, sw, zw)
        a = Conv(d, f)  r = Relu(a)  y = Conv(r, u) }""",
    "decoder": """(float[N,4,6,6] x) => (float[N,3,14,14] y) <float[4,12,2,2] w, float[12] b, float[8,12,1,1] v,
        float[3,8,1,1] u,
        float[4] sc = {1,1,1,1}, int64[8] pads = {0,1,1,1,0,0,1,1}, float[3,9,1,1] t> {
        a = ConvTranspose<strides=[2,2]>(x, w, b)  r = Relu(a)  z = Resize<mode="nearest">(r, , sc)  c = Conv(z, v)
        g = Relu(c)  p = Pad(g, pads)  y = Conv(p, t) }""",
    "shuffle": """(float[2,4,6,6] x) => (float[2,3,6,6] y) <float[16,4,1,1] w, float[4] gs, float[4] gb,
        float[16,4,3,3] k,
        float[3,16,1,1] u, int64[5] five = {2,4,4,6,6}, int64[4] four = {2,16,6,6}, float[16] s3, float[16] c3> {
        a = Conv(x, w)  i = InstanceNormalization(a, s3, c3)  r = Relu(i)  f = Reshape(r, five)
        t = Transpose<perm=[0,2,1,3,4]>(f)  b = Reshape(t, four)  c = Conv<group=4,pads=[1,1,1,1]>(b, k)  d = Relu(c)
        y = Conv(d, u) }""",
    "fused": """(float[N,6,12] x) => (float[N,6,5] y) <float[12,16] w, float[16] d, float[16,12] v, float[12] s,
        float[12] c,
        float[12] s3, float[12,5] h> {
        a = com.microsoft.FusedMatMul<alpha=0.5>(x, w)  g = com.microsoft.BiasGelu(a, d)  b = MatMul(g, v)
        n = com.microsoft.SkipLayerNormalization<epsilon=0.01>(b, x, s, c)
        m = com.microsoft.SkipSimplifiedLayerNormalization<epsilon=0.01>(n, x, s3)  y = MatMul(m, h) }""",
    "folded": """(float[N,4,8,8] x) => (float[N,3,8,8] y) <float[12,4,1,1] w, float[12,1,1,1] s, float[12,12] v,
        float[12,3] h,
        float[12] shared> {
        k = Mul(w, s)  idle = Identity(x)  a = Conv(idle, k, shared)  dr = Dropout(a)  e = Relu(dr)
        two = Constant<value_float=2.0>()  m = Div(e, two)  t = Transpose<perm=[0,2,3,1]>(m)  vt =
        Transpose<perm=[1,0]>(v)
        b = MatMul(t, vt)  c = Add(b, shared)  f = Relu(c)  r1 = Relu(c)  z = Add(f, r1)  o = MatMul(z, h)
        y = Transpose<perm=[0,3,1,2]>(o) }""",
    "picked": """(float[N,4,8,8] x) => (float[N,3,8,8] y, float[N,2] z) <float[12,4,1,1] w, float[8,12,1,1] v,
        float[3,8,1,1] u,
        float[12,2] h, int64[12] order = {3,1,0,2,7,5,4,6,11,10,9,8}, int64[1] b0 = {11}, int64[1] e0 = {-13},
        int64[1] a0 = {1}, int64[1] st = {-1}> {
        a = Conv(x, w)  r = Relu(a)  g = Gather<axis=1>(r, order)  i = Slice(g, b0, e0, a0, st)  c = Conv(i, v)
        d = Relu(c)  y = Conv(d, u)  p = GlobalMaxPool(g)  f = Flatten(p)  z = MatMul(f, h) }""",
}
"""ONNX text; names that are declared without numbers are weights, ``s...`` positive ones."""


def build(folder: Path) -> dict[str, Path]:
    """Writes every model; path by name."""
    found = {}
    for name, text in TEXTS.items():
        found[name] = folder / f"{name}.onnx"
        onnx.save(model(text), found[name])
    return found


def model(text: str) -> onnx.ModelProto:
    """The model of a text, with seeded weights of unit gain."""
    opsets = f'"" : 18, "{MICROSOFT}" : 1'
    proto = onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{opsets}]>\ng {text}")
    graph = proto.graph
    known = {t.name for t in graph.initializer} | {n for node in graph.node for n in node.output}
    for info in [v for v in graph.value_info if v.name not in known]:
        graph.initializer.append(_weight(info))
        graph.value_info.remove(info)
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"
    if not any(node.domain for node in graph.node):
        del proto.opset_import[1]
    return proto


def _weight(info: onnx.ValueInfoProto) -> TensorProto:
    kind = info.type.tensor_type
    shape = [d.dim_value for d in kind.shape.dim]
    rng = np.random.default_rng(crc32(info.name.encode()))
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype.kind == "i":
        array = rng.integers(-100, 100, shape) // (20 if info.name.startswith("z") else 1)
    elif info.name.startswith("s"):
        array = rng.uniform(0.5, 1.5, shape) * (0.02 if info.name == "sw" else 1)
    else:
        fan = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        array = rng.normal(0, 1, shape) / np.sqrt(fan) if len(shape) > 1 else rng.normal(0, 0.5, shape)
    return numpy_helper.from_array(np.asarray(array).astype(dtype), info.name)
