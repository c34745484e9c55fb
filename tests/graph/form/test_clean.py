"""Clean-up changes no output, and removes what its name says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings, RunSettings
from compressor.graph.form import clean
from compressor.graph.sizes.feeds import feeds
from compressor.pruning.cut.analysis import prepared_model
from compressor.pruning.proofs.graphs.interface_match import demand_same_interface
from compressor.runtime.stored import run_once
from tests.models import between, in_memory, model, tokens
from tests.property.idioms import IDIOMS

BARE = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": "none"})
IDIOM_NAMES = [name for name in IDIOMS if name.startswith("network.")]


def cleaned(proto: onnx.ModelProto) -> ir.Model:
    made, _ = prepared_model(in_memory(proto), RunSettings())
    clean.tidy(made, simplify=True)
    return made


def operators(found: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in found.graph)


@pytest.mark.parametrize("name", IDIOM_NAMES)
def test_outputs_stay(name: str) -> None:
    source = in_memory(IDIOMS[name]())
    made, shapes = prepared_model(source, RunSettings())
    clean.tidy(made, simplify=True)
    demand_same_interface(source, made)
    assert made.graph.num_nodes() <= source.graph.num_nodes()
    for inputs in (shapes.inputs, shapes.other_inputs):
        given = [feeds(source, inputs, shapes, 0)]
        one, two = (run_once(m, given, "cpu").outputs[0] for m in (source, made))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", IDIOM_NAMES[::4])
def test_cleaning_twice_is_cleaning_once(name: str) -> None:
    once = cleaned(IDIOMS[name]())
    twice = cleaned(ir.to_proto(once))
    assert operators(twice) == operators(once)
    assert set(twice.graph.initializers) == set(once.graph.initializers)


def test_dead_nodes_and_their_weights() -> None:
    found = cleaned(between("b = Relu(a)  dead = Conv(a, u)  deader = Neg(dead)", more="float[7,16,1,1] u"))
    assert operators(found) == {"Conv": 3, "Relu": 1}
    assert set(found.graph.initializers) == {"w", "bias", "v", "head"}


@pytest.mark.parametrize(
    "lines",
    [
        # Nobody reads the result; the branch that does not run; one inside another.
        "go = Cast<to=9>(half)  dead = If(go) <THEN, BODY>  b = Mul(half, a)",
        "b1 = If(yes) <then_branch = t () => (float p) { p = Neg(half) }, BODY>  b = Mul(b1, a)",
        "go = Cast<to=9>(half)  dead = If(go) <THEN, else_branch = i () => (float[16] r) { r = If(yes) <"
        "then_branch = s () => (float[16] z) { z = Neg(seen) }, BODY> }>  b = Mul(half, a)",
    ],
)
def test_what_only_dead_bodies_read_is_dead(lines: str) -> None:
    lines = lines.replace("BODY", "else_branch = e () => (float[16] q) { q = MatMul(seen, u) }")
    lines = lines.replace("THEN", "then_branch = t () => (float[16] p) { p = Neg(seen) }")
    lines = f"m = ReduceMean<keepdims=0>(a)  half = Mul(m, s)  seen = Add(m, t)  {lines}"
    found = cleaned(between(lines, more="float[16,16] u, float s, float[16] t, bool yes = {1}"))
    assert operators(found) == {"Conv": 3, "ReduceMean": 1, "Mul": 2} | ({"Neg": 1} if "b1" in lines else {})
    assert set(found.graph.initializers) == {"w", "bias", "v", "head", "s"}


def test_identities() -> None:
    found = cleaned(between("c = Identity(a)  d = Dropout(c)  e = Relu(d)  b = Identity(e)"))
    assert operators(found) == {"Conv": 3, "Relu": 1}


@pytest.mark.parametrize(
    "body",
    [
        "c, mask = Dropout(a)  e = Cast<to=1>(mask)  f = Add(c, e)  b = Relu(f)",
        "c = Dropout(a, ratio, training)  b = Relu(c)",
    ],
)
def test_dropout_that_does_something_stays(body: str) -> None:
    proto = between(body, more="float ratio = {0.5}, bool training = {1}")
    assert operators(cleaned(proto))["Dropout"] == 1


def test_the_same_computation_twice() -> None:
    found = cleaned(between("c = Relu(a)  d = Relu(a)  e = Sigmoid(c)  f = Sigmoid(d)  b = Mul(e, f)"))
    assert operators(found) == {"Conv": 3, "Relu": 1, "Sigmoid": 1, "Mul": 1}


def test_equal_whole_numbers_become_one() -> None:
    body = "c = Reshape(a, s)  d = Relu(c)  b = Reshape(d, t)"
    found = cleaned(between(body, more="int64[4] s = {3,16,6,6}, int64[4] t = {3,16,6,6}"))
    assert len({"s", "t"} & set(found.graph.initializers)) <= 1


@pytest.mark.parametrize("numbers", [["0.5"], ["0"] * 16])
def test_equal_floats_stay_apart_as_training_tells_them_apart(numbers: list[str]) -> None:
    shape = "[1]" if len(numbers) == 1 else "[1,16,1,1]"
    more = ", ".join(f"float{shape} {name} = {{{','.join(numbers)}}}" for name in "st")
    found = cleaned(between("c = Mul(a, s)  d = Relu(c)  b = Max(d, t)", more=more))
    assert {"s", "t"} <= set(found.graph.initializers)


def test_a_number_that_was_one_becomes_one_again() -> None:
    found = prune(
        in_memory(between("c = Mul(a, s)  d = Relu(c)  b = Mul(d, s)", more="float[1] s = {0.5}")), BARE
    ).model
    assert [name for name in found.graph.initializers if name.startswith("s")] == ["s"]


def test_constant_subgraphs_are_computed() -> None:
    proto = between(
        "k = Neg(u)  l = Exp(k)  n = ReduceSum(l)  m = Div(l, n)  b = Conv(a, m)", more="float[16,16,1,1] u"
    )
    found = cleaned(proto)
    assert operators(found) == {"Conv": 4}
    array = onnx.numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == "u")).astype(np.float64)
    kept = next(v for n, v in found.graph.initializers.items() if n not in ("w", "bias", "v", "head")).const_value
    assert kept is not None
    np.testing.assert_allclose(kept.numpy(), np.exp(-array) / np.exp(-array).sum(), rtol=1e-5)


def test_shape_arithmetic_is_computed_where_sizes_are_fixed() -> None:
    body = "f = Shape(a)  n = Gather(f, zero)  to = Concat<axis=0>(n, rest)  r = Reshape(a, to)  b = Reshape(r, f)"
    found = cleaned(between(body, more="int64[1] zero = {0}, int64[1] rest = {-1}"))
    assert operators(found) == {"Conv": 3, "Reshape": 2}


def test_shape_arithmetic_of_symbolic_sizes_stays() -> None:
    proto = model(
        """(float[N,4,6,6] x) => (float y) <int64[1] zero = {0}, int64[1] rest = {-1}> {
            f = Shape(x)  n = Gather(f, zero)  to = Concat<axis=0>(n, rest)  y = Reshape(x, to) }"""
    )
    assert operators(cleaned(proto)) == {"Shape": 1, "Gather": 1, "Concat": 1, "Reshape": 1}


def test_a_tied_weight_is_not_copied() -> None:
    proto = model(
        """(int64[3,5] i) => (float y) <float[4200,16] w, float[16,16] u> {
            e = Gather(w, i)  c = MatMul(e, u)  t = Transpose(w)  y = MatMul(c, t) }"""
    )
    assert operators(cleaned(proto))["Transpose"] == 1


def test_a_weight_of_one_user_is_moved_for_good() -> None:
    assert operators(cleaned(tokens("t = Transpose(u)  b = MatMul(a, t)", more="float[16,16] u"))) == {
        "MatMul": 4,
        "Add": 1,
    }


@pytest.mark.parametrize("size", [16, 4200])
def test_quantised_weights_stay_quantised(size: int) -> None:
    proto = tokens(
        "d = DequantizeLinear<axis=0>(k, s)  c = MatMul(a, d)  e = DequantizeLinear<axis=0>(l, s2)  b = MatMul(c, e)",
        more=f"int8[16,{size}] k, float[16] s, int8[{size},16] l, float[{size}] s2",
    )
    assert operators(cleaned(proto))["DequantizeLinear"] == 2


def test_constants_do_not_grow() -> None:
    """One number spread over a large shape stays an Expand."""
    proto = between(
        "e = Expand(half, to)  c = Mul(a, e)  b = Relu(c)",
        more="float half = {0.5}, int64[4] to = {512,16,6,6}",
        checked=False,
    )
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 512
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 512
    assert operators(cleaned(proto))["Expand"] == 1


def test_random_numbers_stay() -> None:
    proto = between("r = RandomNormal<shape=[16,1,1],seed=1.0>()  b = Add(a, r)")
    assert operators(cleaned(proto))["RandomNormal"] == 1


BODIES = {
    "reads from outside": "o = Add(outside, s)",
    "draws": "d = RandomNormalLike(s)  o = Add(s, d)",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_is_no_function_of_the_inputs_of_its_node(body: str) -> None:
    """With a number of turns and a state that are constants, a Loop is constant only if its body is."""
    text = f"""(float[n,8] x) => (float[n,c] y) <float[8,8] w, float[8,8] u, int64 turns, float[2,8] k> {{
        outside = MatMul(x, w)
        l = Loop(turns, , k) <body = inside (int64 i, bool more, float[r,8] s) => (bool again, float[r,8] o) {{
            again = Identity(more)  {body} }}>
        y = MatMul(l, u) }}"""
    source = in_memory(model(text))
    source.graph.initializers["turns"].const_value = ir.tensor(np.asarray(2), name="turns")
    cleaned, _ = prepared_model(source, RunSettings())
    assert "Loop" in {node.op_type for node in cleaned.graph}


def test_outputs_that_are_constants_stay_outputs() -> None:
    proto = model("(float[2,3] x) => (float y, float z) <float[3] s> { y = Mul(x, s)  z = Neg(s) }")
    found = cleaned(proto)
    assert [v.name for v in found.graph.outputs] == ["y", "z"]
    onnx.checker.check_model(ir.to_proto(found))


def test_an_output_that_is_an_input_stays() -> None:
    proto = model("(float[2,3] x) => (float y, float z) { y = Identity(x)  z = Relu(x) }")
    found = cleaned(proto)
    assert [v.name for v in found.graph.outputs] == ["y", "z"]
    onnx.checker.check_model(ir.to_proto(found))


def test_defaults_that_the_caller_may_override_are_not_folded() -> None:
    proto = between("k = Neg(u)  b = Mul(a, k)", more="float[1] u = {0.5}")
    proto.graph.input.append(onnx.helper.make_tensor_value_info("u", 1, [1]))
    assert operators(cleaned(proto))["Neg"] == 1


@pytest.mark.parametrize(("kind", "code"), [("float16", 10), ("bfloat16", 16)])
def test_half_precision_is_folded_where_nothing_is_rounded(kind: str, code: int) -> None:
    """ONNX Runtime rounds a chain of half precision once, at its end."""
    proto = model(
        f"({kind}[3] x) => ({kind}[3] y) <float[3] v = {{0.5, 2.0, 3.0}}> {{ w = Cast<to={code}>(v)  n = Neg(w)"
        "  m = Mul(w, n)  l = Log(w)  e = Exp(l)  s = Add(m, e)  y = Add(x, s) }"
    )
    assert operators(cleaned(proto)) == {"Log": 1, "Exp": 1, "Add": 2}


def test_unused_operator_sets_go() -> None:
    proto = between("b = Relu(a)", domains=("custom",))
    assert list(cleaned(proto).opset_imports) == [""]


def test_not_simplifying_leaves_what_is_alive() -> None:
    proto = between("c = Identity(a)  d = Relu(c)  e = Relu(c)  b = Add(d, e)  dead = Neg(a)")
    made, _ = prepared_model(in_memory(proto), RunSettings(simplify=False))
    clean.tidy(made, simplify=False)
    assert operators(made) == {"Conv": 3, "Identity": 1, "Relu": 2, "Add": 1}


@pytest.mark.parametrize(
    ("index", "more", "left"),
    [
        ("int64[2,1] i = {2,-1}", "", "Gather"),
        ("int64[2,2] i = {2,1,0,0}", "", "GatherND"),
        ("int64[4,1] i = {0,1,2,0}", "<batch_dims=1>", "GatherND"),
    ],
)
def test_whole_entries_that_a_constant_picks_are_picked_by_the_plain_operator(index: str, more: str, left: str) -> None:
    source = in_memory(model(f"(float[4,3,5] x) => (float y) <{index}> {{ y = GatherND{more}(x, i) }}"))
    feed = {"x": np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32)}
    expected = run_once(source, [feed], "cpu").outputs[0][0]
    cleaned, _ = prepared_model(source, RunSettings())
    assert [node.op_type for node in cleaned.graph] == [left]
    np.testing.assert_array_equal(run_once(cleaned, [feed], "cpu").outputs[0][0], expected)


def test_results_that_are_equal_keep_what_is_declared_of_them() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[n,4] x) => (float[n,4] y, float[n,4] z) { a = Relu(x)  b = Relu(x)  y = Neg(a)  z = Identity(b) }"""
    source = prepared_model(in_memory(onnx.parser.parse_model(text)), RunSettings())[0]
    assert [(str(v.shape), v.dtype) for v in source.graph.outputs] == [("[n,4]", ir.DataType.FLOAT)] * 2


def test_a_weight_that_identities_hand_to_several_layers_stays_one() -> None:
    proto = model("""(float[n,8] x) => (float[n,8] y) <float[8,8] w> {
        a = MatMul(x, w)  v = Identity(w)  b = Relu(a)  c = MatMul(b, v)  u = Identity(v)  d = Relu(c)
        y = MatMul(d, u) }""")
    cleaned, _ = prepared_model(in_memory(proto), RunSettings())
    assert list(cleaned.graph.initializers) == ["w"]
    assert [node.op_type for node in cleaned.graph] == ["MatMul", "Relu", "MatMul", "Relu", "MatMul"]
