"""Shapes and static values against ONNX Runtime, symbolic sizes, and what is only true by chance."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from compressor.errors import ModelError, UsageError
from compressor.graph.form.normalise import normalise
from compressor.graph.ir.captures import captured_values
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.sizes import infer
from tests.models import between, in_memory, model, tokens
from tests.property.idioms import IDIOMS

NETWORKS = [f"network.{n}" for n in ("resnet", "shufflenet", "unet", "vit", "swin", "llama", "tagger", "recommender")]


def bound(proto: onnx.ModelProto, **given: object) -> tuple[ir.Model, Shapes]:
    source = normalise(in_memory(proto))
    return source, infer(source, **given)  # type: ignore[arg-type]


def values(source: ir.Model) -> dict[str, ir.Value]:
    return {str(v.name): v for n in source.graph for v in n.outputs if v.name}


def run_all(source: ir.Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every value as ONNX Runtime computes it, graph optimisations off."""
    proto = ir.to_proto(source)
    names = [name for node in proto.graph.node for name in node.output if name]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return dict(zip(names, map(np.asarray, session.run(None, inputs)), strict=True))


def inputs_of(source: ir.Model, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    made = {}
    for value in source.graph.inputs:
        if value.is_initializer() or value.dtype is None:
            continue
        kind = value.dtype.numpy()
        size = shapes[str(value.name)]
        made[str(value.name)] = np.ones(size, kind) if kind.kind != "f" else np.full(size, 0.5, kind)
    return made


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_types_and_static_values_are_those_of_the_runtime(name: str) -> None:
    source, shapes = bound(IDIOMS[name]())
    dynamic = {n: shapes.dynamic(v) for n, v in values(source).items()}
    seen: dict[str, list[tuple[int, ...]]] = {}
    for chosen in (shapes.inputs, shapes.other_inputs):
        for key, array in run_all(source, inputs_of(source, chosen)).items():
            value = values(source)[key]
            seen.setdefault(key, []).append(array.shape)
            static = shapes.const(value)
            if static is not None:
                np.testing.assert_array_equal(array, static)
            if chosen is shapes.inputs and shapes(value) is not None:
                assert array.shape == shapes(value), key
                dtype = shapes.dtype(value)
                assert dtype is not None
                assert array.dtype == dtype.numpy()
    for key, (one, two) in seen.items():
        if shapes(values(source)[key]) is not None:
            assert dynamic[key] == [a != b for a, b in zip(one, two, strict=True)], key


def test_two_bindings_share_no_size_by_chance() -> None:
    _, shapes = bound(model("(float[N,4,H,W] x) => (float y) { y = Relu(x) }"))
    one, two = shapes.inputs["x"], shapes.other_inputs["x"]
    assert one[1] == two[1] == 4
    assert len({one[0], one[2], one[3], two[0], two[2], two[3]}) >= 5
    assert all(a != b for k, (a, b) in enumerate(zip(one, two, strict=True)) if k != 1)


def test_one_symbol_has_one_size() -> None:
    _, shapes = bound(
        model("(float[N,T,8] x, float[N,T] z) => (float y) { e = ReduceMax<keepdims=0>(z)  y = Add(x, e) }")
    )
    for chosen in (shapes.inputs, shapes.other_inputs):
        assert chosen["x"][:2] == chosen["z"]


def test_the_users_sizes() -> None:
    proto = model("(float[N,4,H,W] x) => (float y) { y = Relu(x) }")
    _, shapes = bound(proto, dims={"H": 7})
    assert shapes.inputs["x"][2] == shapes.other_inputs["x"][2] == 7
    _, shapes = bound(proto, shapes={"x": (2, 4, 5, 6)})
    assert shapes.inputs["x"] == shapes.other_inputs["x"] == (2, 4, 5, 6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"shapes": {"nobody": (1,)}}, "no input 'nobody'"),
        ({"dims": {"nobody": 1}}, "no symbolic dimension 'nobody'"),
        ({"shapes": {"x": (2, 5, 6, 6)}}, "x"),
        ({"shapes": {"x": (2, 4)}}, "x"),
        ({"shapes": {"x": (2, 4, 6, 6)}, "dims": {"N": 3}}, "--dim N=3 makes the dimension 'N' 3, and --input-shape"),
    ],
)
def test_given_sizes_that_do_not_fit(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bound(model("(float[N,4,H,W] x) => (float y) <float[8,4,3,3] w> { y = Conv(x, w) }"), **given)


def test_sides_that_must_divide() -> None:
    """A patch of 32 pixels: primes do not fit, a later binding does."""
    proto = model(
        """(float[N,4,H,W] x) => (float y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] side = {32}> {
            f = Shape(x)  n = Slice(f, zero, one)  c = Slice(f, one, two)  h = Slice(f, two, three)
                  four = Constant<value_ints=[4]>()
            w = Slice(f, three, four)  a = Div(h, side)  b = Div(w, side)  to = Concat<axis=0>(n, c, a, side, b, side)
            y = Reshape(x, to) }"""
    )
    source, shapes = bound(proto)
    found = shapes(values(source)["y"])
    assert found is not None
    assert found[3] == found[5] == 32


def test_nothing_fits() -> None:
    proto = model("(float[N,4] x) => (float y) <int64[2] to = {7,13}> { y = Reshape(x, to) }")
    with pytest.raises(ModelError, match=r"shapes do not fit.*--input-shape"):
        bound(proto)


def test_an_inconsistent_model() -> None:
    proto = model("(float[2,4] x) => (float y) <float[3,4] w> { a = Relu(x)  y = MatMul(a, w) }", checked=False)
    with pytest.raises(ModelError, match="MatMul_1"):
        bound(proto)


@pytest.mark.parametrize(
    "node",
    [
        "y = Gather<axis=300>(w, i)",
        "e = Gather<axis=-300>(w, i)  y = Relu(e)",
        "r = ReduceSum<keepdims=0>(x)  q = SequenceConstruct(r, r)  y = ConcatFromSequence<axis=0>(q)",
        "r = ReduceSum<keepdims=0>(x)  y = Concat<axis=0>(r, r)",
        "r = ReduceSum<keepdims=0>(x)  y = Split<axis=0>(r)",
    ],
)
def test_an_axis_that_is_not_there(node: str) -> None:
    """Every rule that looks up an axis says that of a damaged file which the runtime would."""
    text = f"(float[n,4] x, int64[n] i) => (y) <float[4,4] w> {{ {node} }}"
    with contextlib.suppress(ModelError):
        bound(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]> g {weighted(text)}'))


def weighted(text: str) -> str:
    """The text with numbers for its weight."""
    numbers = ", ".join(["1"] * 16)
    return text.replace("float[4,4] w", f"float[4,4] w = {{{numbers}}}").replace("=> (y)", "=> (float y)")


def test_reshape_that_loses_elements() -> None:
    proto = model("(float[2,4] x) => (float y) <int64[1] to = {7}> { y = Reshape(x, to) }", checked=False)
    with pytest.raises(ModelError, match="Reshape"):
        bound(proto)


# ---- static or not ------------------------------------------------------------------------------------------


def static(
    body: str, name: str, head: str = "float[N,4,6,6] x", more: str = "int64[1] zero = {0}, int64[1] one = {1}"
) -> object:
    source, shapes = bound(model(f"({head}) => (float y) <{more}> {{ {body} }}"))
    found = shapes.const(values(source)[name])
    return None if found is None else found.tolist()


def test_a_fixed_size_is_static_and_a_symbolic_one_is_not() -> None:
    body = "f = Shape(x)  n = Gather(f, zero)  c = Gather(f, one)  t = Mul(c, c)  y = Reshape(x, f)"
    assert static(body, "c") == [4]
    assert static(body, "t") == [16]
    assert static(body, "n") is None
    assert static(body, "f") is None


def test_equal_under_both_bindings_by_chance_is_not_static() -> None:
    """The larger of the length and 512 is 512 at both lengths tried."""
    body = "f = Shape(x)  n = Gather(f, zero)  m = Max(n, long)  q = Mul(m, one)  e = Expand(x, q)  y = Relu(e)"
    found = static(body, "m", head="float[N] x", more="int64[1] zero = {0}, int64[1] one = {1}, int64[1] long = {1}")
    assert found is None


def test_an_initializer_that_the_caller_may_override_is_not_static() -> None:
    proto = model(
        "(float[2,8] x, int64[2] to) => (float y) <int64[2] to = {4,4}> { y = Reshape(x, to) }", checked=False
    )
    source, shapes = bound(proto)
    assert shapes.const(source.graph.inputs[1]) is None


def test_random_numbers_are_not_static() -> None:
    source, shapes = bound(model("(float[2,8] x) => (float y) { r = RandomNormal<shape=[2,8]>()  y = Add(x, r) }"))
    assert shapes.const(values(source)["r"]) is None


def test_functions_that_inference_leaves_out() -> None:
    for body, more, opset in (
        ("b = GroupNormalization<num_groups=4>(a, s, p)", "float[16] s, float[16] p", 21),
        ("b = MeanVarianceNormalization(a)", "", 18),
    ):
        source, shapes = bound(between(body, more=more, opset=opset))
        assert shapes(values(source)["b"]) == (3, 16, 6, 6)
    source, shapes = bound(tokens("b = LpNormalization(a)"))
    assert shapes(values(source)["b"]) == (3, 5, 16)


def test_unknown_operators_have_no_shape_and_stop_nothing() -> None:
    source, shapes = bound(
        model("(float[2,8] x) => (float[2,8] y) { a = custom.Thing(x)  y = Relu(a) }", domains=("custom",))
    )
    assert shapes(values(source)["a"]) is None


def test_captured_values() -> None:
    inner = onnx.parser.parse_graph("inner () => (float r) { t = Add(a, w)  r = Relu(t) }")
    proto = model("(float[2,8] x, bool c) => (float[2,8] y) <float[8] w> { a = Relu(x)  d = Add(a, w)  y = Neg(d) }")
    node = onnx.helper.make_node("If", ["c"], ["z"], "if", then_branch=inner, else_branch=inner)
    proto.graph.node.append(node)
    source = in_memory(proto)
    found = captured_values(next(n for n in source.graph if n.op_type == "If"))
    assert sorted(str(v.name) for v in found) == ["a", "w"]


def test_absurd_sizes_are_refused() -> None:
    proto = model(
        "(float[2,8] x) => (float y) <int64[2] to = {1048576,8388608}> { e = ReduceMax<keepdims=0>(x)  y = Expand(e,"
        " to) }"
    )
    with pytest.raises(ModelError, match="larger than"):
        bound(proto)


def test_one_side_of_a_spectrum_is_the_default() -> None:
    """ONNX's own inference of STFT takes both."""
    source, shapes = bound(
        model(
            """(float[3,80] x) => (float[n,f,b,c] y) <float[16] window, int64[3] signal = {3,80,1}, int64 step = {16}> {
            s = Reshape(x, signal)  y = STFT(s, step, window) }"""
        )
    )
    assert shapes(values(source)["y"]) == run_all(source, inputs_of(source, shapes.inputs))["y"].shape == (3, 5, 9, 2)


def test_a_loop_of_one_turn_stacks_one() -> None:
    """The condition is only handed on: inside a body it holds, or the body would not run."""
    for condition in ("yes", ""):
        text = f"""<ir_version: 10, opset_import: ["" : 18]>
            g (float[m,4] x) => (float[m,4] y) <int64 one = {{1}}, bool yes = {{1}}, int64[1] axis = {{0}}> {{
            a = Loop(one, {condition})<body = b (int64 k, bool c) => (bool d, float[m,4] p) {{
                p = Relu(x)  d = Identity(c) }}>
            y = Squeeze(a, axis) }}"""
        source, shapes = bound(onnx.parser.parse_model(text))
        found = shapes(values(source)["a"])
        assert found is not None
        assert found[0] == 1
