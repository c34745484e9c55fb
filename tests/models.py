"""Small models for tests, written as ONNX text; weights that the text only declares get seeded numbers.

model('''
(float[3,4,6,6] x) => (float y) <float[16,4,3,3] w, float[16] b, float[8,16,1,1] v> {
    a = Conv<pads=[1,1,1,1]>(x, w, b)
    c = Relu(a)
    y = Conv(c, v)
}''')
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 10
OPSET = 18


def model(
    text: str, *, opset: int = OPSET, seed: int = 0, domains: tuple[str, ...] = (), checked: bool = True
) -> onnx.ModelProto:
    """A model of one graph, held against the ONNX checker unless ``checked`` is off.

    Names that are declared (``<float[8,4] w>``) and never computed are weights: kernels of unit gain whose
    slices differ in size, so that rankings do; positive numbers where the name starts with ``s``. Outputs get
    the shapes that inference finds, where it does.
    """
    imports = ", ".join([f'"" : {opset}', *(f'"{d}" : 1' for d in domains)])
    proto = onnx.parser.parse_model(f"<ir_version: {IR_VERSION}, opset_import: [{imports}]>\ng {text.strip()}")
    graph = proto.graph
    computed = {name for node in graph.node for name in node.output} | {v.name for v in graph.output}
    for info in [v for v in graph.value_info if v.name not in computed]:
        graph.initializer.append(_weight(info, seed))
        graph.value_info.remove(info)
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    _infer_outputs(proto)
    if checked:
        onnx.checker.check_model(proto)
    return proto


def _infer_outputs(proto: onnx.ModelProto) -> None:
    blank = onnx.ModelProto()
    blank.CopyFrom(proto)
    for value in blank.graph.output:
        value.type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(blank, data_prop=True).graph.output
    for value, better in zip(proto.graph.output, found, strict=True):
        if better.type.tensor_type.HasField("shape"):
            value.CopyFrom(better)


def _weight(info: onnx.ValueInfoProto, seed: int) -> TensorProto:
    kind = info.type.tensor_type
    shape = [d.dim_value for d in kind.shape.dim]
    rng = np.random.default_rng([seed, crc32(info.name.encode())])
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    array: NDArray[np.generic]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        array = rng.integers(max(limits.min, -100), min(limits.max, 200), shape).astype(dtype)
    elif info.name.startswith("s"):
        array = rng.uniform(0.5, 1.5, shape).astype(dtype)
    else:
        numbers = rng.normal(0, 1, shape)
        if len(shape) > 1:
            numbers *= rng.uniform(0.5, 1.5, (shape[0],) + (1,) * (len(shape) - 1))
            numbers *= rng.uniform(0.7, 1.3, (1, shape[1]) + (1,) * (len(shape) - 2))
            numbers /= np.sqrt(min(shape[0], int(np.prod(shape[1:]))))
        array = numbers.astype(dtype)
    return numpy_helper.from_array(array, info.name)


def between(body: str, *, more: str = "", out: int = 16, **options: object) -> onnx.ModelProto:
    """``body`` from ``a``, float[3,16,6,6], to ``b`` between convolutions ``w`` and ``v``; a head follows.

    ``more`` declares what else the body needs, ``out`` is the width of ``b``.
    """
    declared = f", {more}" if more else ""
    return model(
        f"""
        (float[3,4,6,6] x) => (float[n,c,h,w] y)
        <float[16,4,3,3] w, float[16] bias, float[8,{out},1,1] v, float[2,8,1,1] head{declared}> {{
            a = Conv<pads=[1,1,1,1]>(x, w, bias)
            {body}
            z = Conv(b, v)
            y = Conv(z, head)
        }}""",
        **options,  # type: ignore[arg-type]
    )


def tokens(body: str, *, more: str = "", out: int = 16, **options: object) -> onnx.ModelProto:
    """``body`` from ``a``, float[3,5,16], to ``b`` between matrix products with ``w`` and ``v``; a head follows."""
    declared = f", {more}" if more else ""
    return model(
        f"""
        (float[3,5,8] x) => (float[n,t,c] y)
        <float[8,16] w, float[16] bias, float[{out},6] v, float[6,2] head{declared}> {{
            m = MatMul(x, w)
            a = Add(m, bias)
            {body}
            z = MatMul(b, v)
            y = MatMul(z, head)
        }}""",
        **options,  # type: ignore[arg-type]
    )


MERGED_HEADS = """
    (float[N,5,8] x) => (float y)
    <float[8,16] w, float[16,6] v, int64[4] split = {0,5,4,4}, int64[3] flat = {-1,5,4}, int64[1] zero = {0},
     int64[1] four = {4}, int64[2] rest = {5,4}, int64[3] join = {0,5,16}> {
        a = MatMul(x, w)            q1 = Reshape(a, split)  q2 = Transpose<perm=[0,2,1,3]>(q1)
        q = Reshape(q2, flat)       k = Transpose<perm=[0,2,1]>(q)
        s = MatMul(q, k)            p = Softmax(s)          o = MatMul(p, q)
        f = Shape(o)                m = Gather(f, zero)     n = Div(m, four)
        to = Concat<axis=0>(n, four, rest)
        o1 = Reshape(o, to)         o2 = Transpose<perm=[0,2,1,3]>(o1)
        b = Reshape(o2, join)       y = MatMul(b, v) }"""
"""Attention over one axis of batch times heads; the batch is divided out of its size at run time."""


def in_memory(proto: onnx.ModelProto) -> ir.Model:
    """The model as the toolchain holds it."""
    return ir.from_proto(proto)


def weight(source: ir.Model | onnx.ModelProto, name: str) -> NDArray[np.generic]:
    """The numbers of an initializer."""
    if isinstance(source, ir.Model):
        tensor = source.graph.initializers[name].const_value
        assert tensor is not None
        return tensor.numpy()
    return numpy_helper.to_array(next(t for t in source.graph.initializer if t.name == name))


def unloadable(source: ir.Model) -> ir.Model:
    """A copy that ONNX Runtime does not load."""
    made = source.clone()
    next(iter(made.graph)).op_type = "NoSuchOperator"
    return made
