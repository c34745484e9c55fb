"""Linear layers, GELU and attention that exporters took apart, put together again."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from compressor.train import GraphModule  # noqa: E402 -- after the skip
from tests.models import in_memory, model  # noqa: E402
from tests.train.case import parity  # noqa: E402

GELU = {
    "legacy": "d = Div(x, root) e = Erf(d) p = Add(e, one) q = Mul(x, p) y = Mul(q, half)",
    "half first": "d = Mul(x, inverse) e = Erf(d) p = Add(one, e) h = Mul(half, x) y = Mul(h, p)",
    "half last but one": "d = Div(x, root) e = Erf(d) p = Add(e, one) q = Mul(p, half) y = Mul(x, q)",
}
NUMBERS = """
    root = Constant<value_float=1.4142135>() inverse = Constant<value_float=0.70710678>()
    one = Constant<value_float=1.0>() half = Constant<value_float=0.5>()
"""
ATTENTION = {
    "plain": "s = MatMul(q, k) a = Softmax<axis=-1>(s) y = MatMul(a, v)",
    "scaled": "s = MatMul(q, k) t = Div(s, root) a = Softmax<axis=-1>(t) y = MatMul(a, v)",
    "masked": "s = MatMul(q, k) t = Mul(s, half) m = Add(t, mask) a = Softmax<axis=-1>(m) y = MatMul(a, v)",
    "mask first": "s = MatMul(q, k) m = Add(mask, s) a = Softmax<axis=-1>(m) y = MatMul(a, v)",
}


def steps(module: GraphModule) -> list[str]:
    return [step.label.split()[0] for step in module._program.steps]


@pytest.mark.parametrize("form", GELU)
def test_gelu(form: str, rng: np.random.Generator) -> None:
    proto = model(f"(float[4,5] x) => (float[4,5] y) {{ {NUMBERS} {GELU[form]} }}")
    assert steps(GraphModule(in_memory(proto))) == ["Gelu"]
    assert parity(proto, {"x": rng.normal(size=(4, 5)).astype(np.float32)}) < 1e-6


@pytest.mark.parametrize(
    "body",
    [
        "d = Div(x, root) e = Erf(d) p = Add(e, half) q = Mul(x, p) y = Mul(q, half)",
        "d = Div(root, x) e = Erf(d) p = Add(e, one) q = Mul(x, p) y = Mul(q, half)",
        "d = Mul(x, half) e = Erf(d) p = Add(e, one) q = Mul(x, p) y = Mul(q, half)",
        "d = Div(x, root) e = Erf(d) p = Add(e, one) q = Mul(x, p) y = Mul(q, one)",
        "d = Div(x, root) e = Erf(d) p = Add(e, one) q = Mul(x, p) r = Mul(q, half) y = Add(r, p)",
    ],
)
def test_what_is_no_gelu(body: str, rng: np.random.Generator) -> None:
    proto = model(f"(float[4,5] x) => (float[4,5] y) {{ {NUMBERS} {body} }}")
    assert "Gelu" not in steps(GraphModule(in_memory(proto)))
    assert parity(proto, {"x": rng.uniform(0.5, 2, size=(4, 5)).astype(np.float32)}) < 1e-6


@pytest.mark.parametrize("form", ATTENTION)
@pytest.mark.parametrize("heads", [(2, 3), (6,)])
def test_attention(form: str, heads: tuple[int, ...], rng: np.random.Generator) -> None:
    lead = ",".join(map(str, heads))
    proto = model(
        f"""(float[{lead},4,8] q, float[{lead},8,5] k, float[{lead},5,8] v) => (float[{lead},4,8] y) <float[4,5] mask>
        {{ {NUMBERS} {ATTENTION[form]} }}"""
    )
    module = GraphModule(in_memory(proto))
    assert steps(module) == ["Attention"]
    assert set(module.state_dict()) == ({"mask"} if "mask" in form else set())
    shapes = {"q": (*heads, 4, 8), "k": (*heads, 8, 5), "v": (*heads, 5, 8)}
    assert parity(proto, {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}) < 1e-6


@pytest.mark.parametrize("shapes", [((1, 3, 4, 8), (2, 3, 8, 5), (1, 1, 5, 8)), ((4, 8), (8, 5), (5, 8))])
def test_attention_that_broadcasts(shapes: tuple[tuple[int, ...], ...], rng: np.random.Generator) -> None:
    names = [",".join(map(str, shape)) for shape in shapes]
    out = ",".join("cdef"[: len(shapes[0])])
    proto = model(
        f"(float[{names[0]}] q, float[{names[1]}] k, float[{names[2]}] v) => (float[{out}] y) "
        f"{{ {NUMBERS} {ATTENTION['scaled']} }}"
    )
    feeds = dict(zip("qkv", (rng.normal(size=s).astype(np.float32) for s in shapes), strict=True))
    assert parity(proto, feeds) < 1e-6


def test_linear_keeps_its_parameters(rng: np.random.Generator) -> None:
    proto = model(
        """(float[2,3,4] x) => (float[2,3,6] y) <float[4,5] w, float[5] b, float[6,5] v, float[6] c> {
            a = MatMul(x, w)  d = Add(b, a)  t = Transpose<perm=[1,0]>(v)  e = MatMul(d, t)  y = Add(e, c)
        }"""
    )
    module = GraphModule(in_memory(proto))
    assert steps(module) == ["Linear", "Transpose", "Linear"]
    assert set(module.state_dict()) == {"w", "b", "v", "c"}
    module(torch.randn(2, 3, 4)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    assert parity(proto, {"x": rng.normal(size=(2, 3, 4)).astype(np.float32)}) < 1e-6


def test_a_product_with_other_readers_stays() -> None:
    proto = model(
        "(float[2,4] x) => (float[2,5] y, float[2,5] a) <float[4,5] w, float[5] b> { a = MatMul(x, w)  y = Add(a, b) }"
    )
    assert steps(GraphModule(in_memory(proto))) == ["MatMul", "Add"]


def test_a_bias_that_widens_the_product_stays(rng: np.random.Generator) -> None:
    proto = model("(float[2,4] x) => (float[2,5] y) <float[4,1] w, float[5] b> { a = MatMul(x, w)  y = Add(a, b) }")
    assert steps(GraphModule(in_memory(proto))) == ["MatMul", "Add"]
    assert parity(proto, {"x": rng.normal(size=(2, 4)).astype(np.float32)}) < 1e-6


@pytest.mark.parametrize(("opset", "axis", "fused"), [(11, "", False), (11, "<axis=2>", True), (18, "", True)])
def test_softmax_over_several_axes_is_no_attention(
    opset: int, axis: str, fused: bool, rng: np.random.Generator
) -> None:
    proto = model(
        "(float[2,4,8] q, float[2,8,5] k, float[2,5,8] v) => (float[a,b,c] y) "
        f"{{ s = MatMul(q, k)  p = Softmax{axis}(s)  y = MatMul(p, v) }}",
        opset=opset,
    )
    proto = onnx.shape_inference.infer_shapes(proto)
    assert steps(GraphModule(in_memory(proto))) == (["Attention"] if fused else ["MatMul", "Softmax", "MatMul"])
    shapes = {"q": (2, 4, 8), "k": (2, 8, 5), "v": (2, 5, 8)}
    assert parity(proto, {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}) < 1e-6


def test_softmax_before_the_last_of_five_axes_is_no_attention(rng: np.random.Generator) -> None:
    proto = model(
        "(float[2,1,2,4,8] q, float[2,1,2,8,4] k, float[2,1,2,4,8] v) => (float[a,b,c,d,e] y) "
        "{ s = MatMul(q, k)  p = Softmax<axis=3>(s)  y = MatMul(p, v) }"
    )
    assert "Attention" not in steps(GraphModule(in_memory(proto)))
    shapes = {"q": (2, 1, 2, 4, 8), "k": (2, 1, 2, 8, 4), "v": (2, 1, 2, 4, 8)}
    assert parity(proto, {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}) < 1e-6
