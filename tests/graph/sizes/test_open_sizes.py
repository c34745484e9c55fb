"""A size is static where it follows from the file: whatever lengths the caller chooses, a cleaned model agrees."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from compressor.errors import ModelError
from compressor.graph.form import clean
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.sizes import infer
from tests.graph.sizes.size_graphs import SizeGraph
from tests.models import in_memory, model

SIZES = ((1, 1), (2, 7), (5, 33), (3, 64), (1, 150), (7, 2), (40, 41))


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])


def outputs(run: ort.InferenceSession, *shape: int) -> list[np.ndarray] | None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    try:
        return [np.asarray(a) for a in run.run(None, {"x": x})]
    except Exception:  # noqa: BLE001 - a size that the original does not take
        return None


def demand_equal_at_every_size(proto: onnx.ModelProto, sizes: tuple[tuple[int, ...], ...]) -> int:
    """Cleans a model and compares; how many sizes the original takes."""
    source = normalise(in_memory(proto))
    clean.simplify(source, infer(source))
    before, after = session(proto), session(onnx.ModelProto.FromString(in_bytes(source)))
    ran = 0
    for shape in sizes:
        expected = outputs(before, *shape)
        if expected is None:
            continue
        ran += 1
        found = outputs(after, *shape)
        assert found is not None, shape
        for one, two in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, two, err_msg=str(shape))
    return ran


def in_bytes(source: object) -> bytes:
    import onnx_ir as ir  # noqa: PLC0415 - only to write it

    assert isinstance(source, ir.Model)
    return ir.to_proto(source).SerializeToString()


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_random_shape_arithmetic(first: int) -> None:
    compared = 0
    for seed in range(first, first + 10):
        try:
            compared += demand_equal_at_every_size(SizeGraph(seed).model(), tuple((n, t, 6) for n, t in SIZES)) > 0
        except ModelError:  # it runs at no size: what it makes is too large for a -1, or empty
            continue
    assert compared >= 7


HEAD = "(float[N,T,6] x) => (float y)"
NUMBERS = (
    "int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] six = {6}, int64[1] many = {64},"
    " int64[1] last = {-1}, int64[1] few = {8}"
)
CLASSES = {
    "behind a stride": """t = Transpose<perm=[0,2,1]>(x)  c = MaxPool<kernel_shape=[1], strides=[64]>(t)  s = Shape(c)
        n = Gather(s, two)  to = Concat<axis=0>(last, six, n)  y = Reshape(c, to)""",
    "behind a slice": """c = Slice(x, zero, few, one)  s = Shape(c)  n = Gather(s, one)
        to = Concat<axis=0>(last, n, six)  y = Reshape(c, to)""",
    "a minimum": """s = Shape(x)  n = Gather(s, one)  k = Min(n, few)  c = Slice(x, zero, k, one)  f = Shape(c)
        m = Gather(f, one)  to = Concat<axis=0>(last, m, six)  y = Reshape(c, to)""",
    "a maximum": "s = Shape(x)  n = Gather(s, one)  k = Max(n, many)  e = Expand(half, k)  y = Relu(e)",
    "a remainder": """s = Shape(x)  n = Gather(s, one)  k = Div(n, many)  m = Mul(k, many)  r = Sub(n, m)
        c = Equal(r, n)  w = Where(c, one, two)  e = Expand(half, w)  y = Relu(e)""",
    "padded up": """t = Transpose<perm=[0,2,1]>(x)
        c = MaxPool<kernel_shape=[64], strides=[64], auto_pad="SAME_UPPER">(t)
        s = Shape(c)  n = Gather(s, two)  to = Concat<axis=0>(last, six, n)  y = Reshape(c, to)""",
    "a bound through floats": """s = Shape(x)  n = Gather(s, one)  f = Cast<to=1>(n)  g = Mul(f, hundredth)
        h = Ceil(g)  i = Cast<to=7>(h)  e = Expand(half, i)  y = Relu(e)""",
    "a range": """s = Shape(x)  n = Gather(s, one)  q = Squeeze(n)  z = Squeeze(zero)  p = Squeeze(many)
        r = Range(z, q, p)  f = Shape(r)  e = Expand(half, f)  y = Relu(e)""",
}


@pytest.mark.parametrize("name", CLASSES)
def test_equal_at_two_short_lengths_is_not_static(name: str) -> None:
    more = f"{NUMBERS}, float[1] half = {{0.5}}, float[1] hundredth = {{0.01}}"
    proto = model(f"{HEAD} <{more}> {{ {CLASSES[name]} }}")
    assert demand_equal_at_every_size(proto, tuple((2, t, 6) for t in (1, 5, 7, 33, 64, 100, 150, 301))) >= 6


def test_a_constant_behind_arithmetic_on_open_sizes_is_static() -> None:
    body = """s = Shape(x)  n = Gather(s, one)  z = Mul(n, zero)  seven = Add(z, few)  d = Div(n, n)  m = Min(n, n)
        g = Sub(m, n)  y = Expand(half, seven)"""
    source, shapes = bound(f"{HEAD} <{NUMBERS}, float[1] half = {{0.5}}> {{ {body} }}")
    values = {str(v.name): v for n in source.graph for v in n.outputs}
    found = {name: shapes.const(values[name]) for name in ("z", "seven", "d", "g", "n")}
    assert {k: None if a is None else a.tolist() for k, a in found.items()} == {
        "z": [0], "seven": [8], "d": [1], "g": [0], "n": None,
    }  # fmt: skip
    assert shapes.dynamic(values["y"]) == [False]


def bound(text: str) -> tuple[object, Shapes]:
    source = normalise(in_memory(model(text)))
    return source, infer(source)


DYNAMIC = [
    ("y = Slice(x, one, many, one)", [True, True, False]),
    ("y = Concat<axis=1>(x, x)", [True, True, False]),
    ("s = Shape(x)  n = Gather(s, zero)  to = Concat<axis=0>(n, last, two)  y = Reshape(x, to)", [True, True, False]),
    ("s = Shape(x)  n = Slice(s, zero, two)  to = Concat<axis=0>(n, two, last)  y = Reshape(x, to)",
     [True, True, False, False]),
    ("y = Flatten<axis=2>(x)", [True, False]),
    ("y = Flatten<axis=1>(x)", [True, True]),
    ("p = Concat<axis=0>(zero, one, zero, zero, two, zero)  y = Pad(x, p)", [True, True, False]),
    ("r = Concat<axis=0>(one, two, two)  y = Tile(x, r)", [True, True, False]),
    ("y, z = Split<axis=1, num_outputs=2>(x)", [True, True, False]),
    ("y, z = Split<axis=2, num_outputs=2>(x)", [True, True, False]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), DYNAMIC)
def test_which_axes_are_open(body: str, expected: list[bool]) -> None:
    source, shapes = bound(f"{HEAD} <{NUMBERS}, float[1] half = {{0.5}}> {{ {body} }}")
    values = {str(v.name): v for n in source.graph for v in n.outputs}  # type: ignore[attr-defined]
    assert shapes.dynamic(values["y"]) == expected


@pytest.mark.parametrize(
    ("node", "weight", "size"),
    [
        ("Conv<group=2>(x, w)", "[8,3,1,1]", {"b": 6}),
        ("ConvTranspose(x, w)", "[6,8,1,1]", {"b": 6}),
        ("BatchNormalization(x, w, w, w, w)", "[6]", {"b": 6}),
        ("InstanceNormalization(x, w, w)", "[6]", {"b": 6}),
        ("LayerNormalization(x, w)", "[6]", {"d": 6}),
        ("MatMul(x, w)", "[6,8]", {"d": 6}),
    ],
)
def test_weights_tell_how_many_channels_an_open_input_has(node: str, weight: str, size: dict[str, int]) -> None:
    network = in_memory(model(f"(float[a,b,c,d] x) => (float y) <float{weight} w> {{ y = {node} }}", checked=False))
    found = dict(zip("abcd", infer(network).inputs["x"], strict=True))
    assert {name: found[name] for name in size} == size


@pytest.mark.parametrize("node", ["Gemm(x, w)", "Gemm<transA=1,transB=1>(t, v)"])
def test_rows_of_a_product_tell_how_many_features_there_are(node: str) -> None:
    text = f"(float[a,b] x) => (float y) <float[6,8] w, float[8,6] v> {{ t = Transpose(x)  y = {node} }}"
    assert infer(in_memory(model(text))).inputs["x"][1] == 6
