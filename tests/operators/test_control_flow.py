"""Control flow: weights in bodies and weights that bodies capture lose channels like those around them."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from compressor.channels.groups import blocked
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from compressor.graph.ir.control_flow import flow_of
from compressor.operators.table import RULES
from tests.models import in_memory, model
from tests.oracle import TOLERANCE, couple, differences, pair, without

from .case import Case, blank, check, whole

CHOICE = "n = ReduceMax<keepdims=0>(x)  c = Greater(n, zero)"


def choice(word: str, one: str, two: str, removed: dict[str, int], more: str = "", **options: object) -> Case:
    """``b``, float[3,16], from ``a``, float[3,16], by an If over two branches."""
    return whole(
        f"If {word}".strip(),
        f"""(float[3,8] x) => (float y)
        <float[8,16] w, float[16,6] v, float[6,2] head, float zero = {{0}}{more}> {{
            a = MatMul(x, w)  {CHOICE}
            b = If(c) <then_branch = one () => (float[3,16] p) {{ {one} }},
                       else_branch = two () => (float[3,16] q) {{ {two} }}>
            z = MatMul(b, v)  y = MatMul(z, head) }}""",
        {"v": 3, **removed},
        **options,
    )


def loop(word: str, body: str, removed: dict[str, int], more: str = "", start: str = "", **options: object) -> Case:
    """``b``, float[3,16], after three iterations over ``s`` from ``a``."""
    return whole(
        f"Loop {word}".strip(),
        f"""(float[3,8] x) => (float y)
        <float[8,16] w, float[16,6] v, float[6,2] head, int64 three = {{3}}, bool go = {{1}}{more}> {{
            a = MatMul(x, w)  {start}
            b = Loop(three, go, a) <body = one (int64 i, bool g, float[3,16] s) => (bool h, float[3,16] r) {{
                h = Identity(g)  {body} }}>
            z = MatMul(b, v)  y = MatMul(z, head) }}""",
        {"v": 3, **removed},
        **options,
    )


PAIR = ", float[16,16] u, float[16,16] t"
CASES = (
    choice("whose branches agree", "p = MatMul(a, u)", "q = MatMul(a, t)", {"w": 8, "u": 8}, PAIR),
    choice("with weights inside", "k = Constant<value = float[3,1] {1,2,3}>()  d = Mul(a, k)  p = MatMul(d, u)",
           "q = Relu(a)", {"w": 8}, ", float[16,16] u"),
    choice("that returns a constant", "p = Identity(k)", "q = Relu(a)", {"w": 8}, ", float[3,16] k"),
    choice("that returns what it captures", "p = Identity(a)", "q = MatMul(a, t)", {"w": 8}, ", float[16,16] t"),
    choice("whose branch has nothing to remove", "p = Concat<axis=1>(x, x)", "q = Relu(a)", {},
           frozen={"w": "has nothing to remove there"}),
    choice("in an If", "p = If(c) <then_branch = in () => (float[3,16] pp) { pp = MatMul(a, u) },"
           " else_branch = out () => (float[3,16] pq) { pq = Tanh(a) }>", "q = Neg(a)", {"w": 8}, ", float[16,16] u"),
    loop("with a residual state", "d = MatMul(s, u)  e = Relu(d)  f = MatMul(e, t)  r = Add(s, f)",
         {"w": 8, "u": 16}, ", float[16,32] u, float[32,16] t"),
    loop("that captures an activation", "d = MatMul(s, u)  r = Add(d, o)", {"w": 8}, ", float[16,16] u",
         start="o = Tanh(a)"),
    loop("whose state becomes something else", "r = Concat<axis=1>(x, x)", {},
         frozen={"w": "has nothing to remove there"}),
    whole("Loop with zeros at first and stacked results", """(float[3,8] x) => (float y)
        <float[8,16] w, float[16,16] u, float[16,6] v, int64 four = {4}, int64[2] size = {3,16}> {
            a = MatMul(x, w)  o = ConstantOfShape(size)
            b, all = Loop(four, , o) <body = one (int64 i, bool g, float[3,16] s)
                => (bool h, float[3,16] r, float[3,16] k) {
                h = Identity(g)  d = MatMul(s, u)  e = Add(d, a)  r = Tanh(e)  k = Relu(r) }>
            z = MatMul(all, v)  y = ReduceMean<keepdims=0>(z) }""", {"w": 8, "v": 3}),
    whole("Loop with a weight at first", """(float[3,8] x) => (float[b,k] y)
        <float[8,16] w, float[16,16] u, float[16,6] v, float[3,16] k, int64 two = {2}> {
            a = MatMul(x, w)
            b = Loop(two, , k) <body = one (int64 i, bool g, float[3,16] s) => (bool h, float[3,16] r) {
                h = Identity(g)  d = MatMul(s, u)  e = Add(d, a)  r = Tanh(e) }>
            y = MatMul(b, v) }""", {"w": 8}),
    whole("Loop whose states change places", """(float[3,8] x) => (float y)
        <float[8,16] w, float[8,16] w2, float[16,6] v, int64 three = {3}> {
            a = MatMul(x, w)  a2 = MatMul(x, w2)
            b, b2 = Loop(three, , a, a2) <body = one (int64 i, bool g, float[3,16] s, float[3,16] s2)
                => (bool h, float[3,16] r, float[3,16] r2) { h = Identity(g)  r = Tanh(s2)  r2 = Relu(s) }>
            c = Sub(b, b2)  y = MatMul(c, v) }""", {"w": 8}),
    whole("Loop whose state grows", """(float[3,2,8] x) => (float[b,t,c] y)
        <float[8,16] w, float[16,6] v, int64 two = {2}> {
            a = MatMul(x, w)
            b = Loop(two, , a) <body = one (int64 i, bool g, float[3,l,16] s) => (bool h, float[3,k,16] r) {
                h = Identity(g)  r = Concat<axis=1>(s, a) }>
            y = MatMul(b, v) }""", {"w": 8}),
    whole("Scan over time", """(float[5,3,8] x) => (float y)
        <float[8,16] w, float[16,16] u, float[16,6] v, int64[2] size = {3,16}> {
            a = MatMul(x, w)  o = ConstantOfShape(size)
            last, all = Scan<num_scan_inputs = 1, body = one (float[3,16] s, float[3,16] i)
                => (float[3,16] r, float[3,16] k) {
                d = MatMul(s, u)  e = Add(d, i)  r = Tanh(e)  k = Identity(r) }>(o, a)
            y = MatMul(all, v) }""", {"w": 8}),
    whole("Scan along the channels of what has no known shape before it runs", """(float[5,3,8] x) => (float[b,k,c] y)
        <float[8,16] w, float[16,6] v, float[6,2] head> {
            r = MatMul(x, w)  z = NonZero(r)  f = Cast<to = 1>(z)  e = ReduceMean<keepdims = 0>(f)  a = Add(r, e)
            all = Scan<num_scan_inputs = 1, scan_input_axes = [2], scan_output_axes = [2],
                body = one (float[5,3] i) => (float[5,3] k) { k = Relu(i) }>(a)
            t = MatMul(all, v)  y = MatMul(t, head) }""", {"v": 3}),
    whole("Scan along the channels", """(float[5,3,8] x) => (float[b,k,c] y)
        <float[8,16] w, float[5,6] v, float[6,2] head> {
            a = MatMul(x, w)
            all = Scan<num_scan_inputs = 1, scan_input_axes = [2], scan_output_axes = [2],
                body = one (float[5,3] i) => (float[5,3] k) { k = Tanh(i) }>(a)
            t = Transpose<perm=[1,2,0]>(all)  z = MatMul(t, v)  y = MatMul(z, head) }""", {"v": 3},
          frozen={"w": "works along this axis as a whole"}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_channels_run_through_bodies(case: Case) -> None:
    check(case)


def operators_of(case: Case) -> list[str]:
    return sorted({node.op_type for node in in_memory(case.build()).graph.all_nodes() if ("", node.op_type) in RULES})


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_without_any_one_rule_the_result_is_exact(case: Case) -> None:
    """The closed world, in bodies too: a missing rule costs channels and nothing else."""
    for op in operators_of(case):
        try:
            with without(op):
                found = pair(in_memory(case.build()), case.options)
        except NothingToPrune:
            continue
        worst = max(differences(found).items(), key=lambda item: item[1])
        assert worst[1] < TOLERANCE, (op, worst)


LATE = """(float[N,8] x, int64 times) => (float[N,k] y) <float[8,16] w, float[16,32] u, float[32,16] t, float[16,6] v> {
    a = MatMul(x, w)
    b = Loop(times, , a) <body = one (int64 i, bool g, float[N,16] s) => (bool h, float[N,16] r) {
        h = Identity(g)  d = MatMul(s, u)  e = Relu(d)  f = MatMul(e, t)  r = Add(s, f) }>
    y = MatMul(b, v) }"""


def test_multiply_accumulates_count_one_iteration() -> None:
    report = prune(in_memory(model(LATE)), PruneSettings.parse({"ratio": 0.5, "recover": "none"})).report
    assert report.input.macs == 8 * 16 + 2 * 16 * 32 + 16 * 6
    assert any("one iteration" in text for text in report.warnings)


def test_a_form_that_is_not_followed_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.operators.control_flow.flow_of", lambda node: None)
    _, coupling = couple(in_memory(model(LATE)), PruneSettings.parse({"ratio": 0.5}))
    reasons = {row.label: row.reason.reason for row in blocked(coupling)}
    assert "has a form that is not followed" in reasons["w:1"]
    assert flow_of(blank("Loop")) is None


def test_without_the_rule_bodies_stay_as_they_are() -> None:
    with without("Loop"):
        _, coupling = couple(in_memory(model(LATE)), PruneSettings.parse({"ratio": 0.5}))
    both = [found for value, found in coupling.deferred_labels.items() if value.name in "uv" and found.terms]
    assert not any(coupling.units.find(found.terms[0].units).any() for found in both)


def test_scan_with_a_batch_axis_is_left_alone() -> None:
    body = helper.make_graph([], "b", [], [])
    node = helper.make_node("Scan", ["", "x"], ["y"], body=body, num_scan_inputs=1)
    graph = helper.make_graph([node], "g", [], [])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)])
    assert flow_of(next(iter(in_memory(proto).graph))) is None


def test_case_models_are_valid() -> None:
    for case in CASES:
        onnx.checker.check_model(case.build(), full_check=True)


COUNTED = """(float[n,16] x, int64 t) => (float[k,n,8] y) <float[16,32] a, float[32,32] w, float[32,8] o> {
    b = MatMul(x, a)  go = Constant<value = bool {1}>()
    last, all = Loop(t, go, b) <body = one (int64 i, bool g, float[n,32] s) => (bool h, float[n,32] r, float[n,32] c) {
        h = Identity(g)  d = MatMul(s, w)  r = Tanh(d)  c = Relu(r) }>
    y = MatMul(all, o) }"""


def test_a_loop_that_an_input_counts_stacks_what_its_body_makes() -> None:
    """Only the new first axis is not known, and made-up numbers let the loop run, or nothing would be proved."""
    done = prune(in_memory(model(COUNTED)), PruneSettings(ratio=0.5, recover="none"))
    assert done.report.proof is not None
    assert done.report.proof.passed
    assert {name: list(v.shape.numpy()) for name, v in done.model.graph.initializers.items() if v.shape} == {
        "a": [16, 16], "w": [16, 16], "o": [16, 8]
    }  # fmt: skip
