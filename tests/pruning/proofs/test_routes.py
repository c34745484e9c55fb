"""Every branch and body takes part in the proof, also those that seeded inputs do not run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.core.compare import Tolerance
from compressor.errors import ProofFailed
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProved, with_comparisons
from compressor.pruning.proofs.routes import NO_NUMBER_THERE, ROUTES, ModelPair, on_route, prove_routes, routes
from compressor.runtime.stored import run_once
from tests.models import in_memory, model

BARE = PruneSettings.parse({"ratio": 0.5, "recover": "none"})
X = {"x": np.ones((3, 8), np.float32)}
NEVER = """(float[3,8] x) => (float[a,b] y) <float[8,16] w, float[16,16] u, float[16,6] v, float far = {1e9}> {
    a = MatMul(x, w)  n = ReduceMax<keepdims=0>(x)  c = Greater(n, far)
    b = If(c) <then_branch = one () => (float[3,16] p) { e = MatMul(a, u)  p = Relu(e) },
               else_branch = two () => (float[3,16] q) { q = Relu(a) }>
    y = MatMul(b, v) }"""
"""The first branch runs on no input that anybody has."""


def nested(depth: int) -> str:
    text = "p0 = Neg(x)"
    for level in range(1, depth + 1):
        text = f"p{level} = If(c) <then_branch = t{level} () => (float[3,8] p{level - 1}) {{ {text} }}, " \
               f"else_branch = e{level} () => (float[3,8] q{level}) {{ q{level} = Relu(x) }}>"  # fmt: skip
    return f"(float[3,8] x, bool c) => (float[3,8] p{depth}) {{ {text} }}"


def graph(text: str) -> ir.Model:
    proto = model(text)
    return in_memory(proto)


def named(source: ir.Model) -> ir.Model:
    for k, node in enumerate(source.graph.all_nodes()):
        node.name = f"n{k}"
    return source


def test_a_graph_without_control_flow_has_no_routes() -> None:
    assert routes(graph("(float[3] x) => (float[3] y) { y = Neg(x) }").graph) == []


def test_routes_reach_every_branch() -> None:
    source = named(graph(nested(3)))
    found = routes(source.graph)
    taken = {pair for route in found for pair in route.branches.items()}
    names = [str(n.name) for n in source.graph.all_nodes() if n.op_type == "If"]
    assert taken == {(name, way) for name in names for way in (True, False)}
    assert len(found) == 4  # the innermost branches, and one way out at each level above


def test_there_are_only_so_many_routes() -> None:
    assert len(routes(named(graph(nested(25))).graph)) == ROUTES


def test_the_branch_of_a_route_runs() -> None:
    source = named(graph(NEVER))
    ways = {}
    for route in routes(source.graph):
        routed, decisions = on_route(source, route)
        ways[next(iter(route.branches.values()))] = run_once(routed, [{**X, **decisions}], "cpu").outputs[0][0]
    plain = run_once(source, [X], "cpu").outputs[0][0]
    assert np.array_equal(ways[False], plain)
    assert not np.allclose(ways[True], plain)


@pytest.mark.parametrize(("limit", "rounds"), [("int64 n", 2), ("bool z", 2), ("int64 big", 2), ("int64 three", 3)])
def test_loops_go_round(limit: str, rounds: int) -> None:
    """Also one whose limit is zero, is left out, is larger than anybody waits for; one that the file fixes is left."""
    name = limit.split()[1]
    given = "" if name == "z" else name
    inputs = ", int64 n" if name == "n" else ""
    source = named(
        graph(f"""(float[3] x{inputs}) => (float[k] y)
        <int64 big = {{9223372036854775807}}, int64 three = {{3}}, bool no = {{0}}> {{
            y = Loop({given}, no, x) <body = b (int64 i, bool g, float[3] s) => (bool h, float[3] r) {{
                h = Identity(g)  r = Add(s, s) }}> }}""")
    )
    (route,) = routes(source.graph)
    routed, decisions = on_route(source, route)
    feeds = {"x": np.ones(3, np.float32), "n": np.asarray(0), **decisions}
    assert run_once(routed, [feeds], "cpu").outputs[0][0].tolist() == [2.0**rounds] * 3


def weights(source: ir.Model, name: str, array: np.ndarray) -> ir.Model:
    copy = source.clone()
    copy.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return copy


def compared(one: ir.Model, two: ir.Model, folder: Path) -> bool:
    found = prove_routes(ModelPair(one, two), [X], Tolerance(1e-4, 0.0, by_channel=True), folder, "cpu")
    assert not found.missing
    return all(evidence.passed for evidence in found.shown)


def test_a_difference_in_a_branch_that_never_runs_is_seen(tmp_path: Path) -> None:
    source = named(graph(NEVER))
    other = weights(source, "u", np.zeros((16, 16), np.float32))
    assert np.array_equal(*(run_once(m, [X], "cpu").outputs[0][0] for m in (source, other)))
    assert compared(source, source, tmp_path)
    assert not compared(source, other, tmp_path)


def test_a_smaller_model_that_fails_in_a_branch_is_no_proof(tmp_path: Path) -> None:
    source = named(graph(NEVER))
    with pytest.raises(ProofFailed, match="every branch"):
        compared(source, weights(source, "u", np.zeros((16, 15), np.float32)), tmp_path)


def test_wrong_cuts_in_a_branch_that_never_runs_are_noticed() -> None:
    proof = prune(graph(NEVER.replace("e = MatMul(a, u)", "f = MatMul(a, u)  e = MatMul(f, t)").replace(
        "float[16,16] u", "float[16,12] u, float[12,16] t")), BARE).report.proof  # fmt: skip
    assert proof is not None
    assert proof.passed
    assert proof.noticed == 2  # of w, and of u inside
    assert not proof.not_proved


def test_a_branch_that_cannot_run_is_said() -> None:
    """One branch picks rows that are not there."""
    text = NEVER.replace("e = MatMul(a, u)", "k = Gather<axis=0>(a, rows)  e = MatMul(k, u)").replace(
        "float far", "int64[3] rows = {7,8,9}, float far")  # fmt: skip
    proof = prune(in_memory(model(text)), BARE).report.proof
    assert proof is not None
    assert [row.group for row in proof.not_proved if "may not have run" in row.reason]


def test_models_are_valid() -> None:
    for text in (NEVER, nested(3)):
        onnx.checker.check_model(model(text), full_check=True)


LOOP_IN_A_BRANCH = """(float[3,8] x, bool c, int64 m) => (float[a,b] y) <float[8,16] w, float[16,6] v, bool yes = {1},
    int64[2] tall = {1,40}> {
    a = MatMul(x, w)  d = MatMul(a, v)
    y = If(c) <then_branch = one () => (float[3,6] p) {
            p = Loop(m, yes, d) <body = b (int64 i, bool on, float[3,6] s) => (bool on2, float[3,6] t) {
                on2 = Identity(on)  r = Reshape(s, tall)  m2 = ReduceMax<keepdims=0>(r)  t = Sub(s, m2) }> },
        else_branch = two () => (float[3,6] q) { q = Neg(d) }> }"""
"""Its body does not run: 18 numbers are no row of 40."""


def test_a_loop_that_another_branch_does_not_reach_is_not_proved() -> None:
    """The other branch ran with every Loop going round, which says nothing of one that it does not hold."""
    found = prune(in_memory(model(LOOP_IN_A_BRANCH)), BARE).report.proof
    assert found is not None
    assert [row.group for row in found.not_proved] == ["Loop_0"]


NO_NUMBERS = NEVER.replace("p = Relu(e)", "r = Relu(e)  s = Sub(low, r)  p = Log(s)").replace(
    "float far", "float low = {-1}, float far"
)


@pytest.mark.parametrize("more", ["", "z = Neg(x)"])
def test_a_branch_that_gives_no_numbers_is_not_proved(more: str) -> None:
    """Also where another output, which does not hang on it, was compared."""
    text = NO_NUMBERS.replace("=> (float[a,b] y)", "=> (float[a,b] y, float[3,8] z)") if more else NO_NUMBERS
    found = prune(in_memory(model(text.replace("n = Red", f"{more}  n = Red"))), BARE).report.proof
    assert found is not None
    assert [row.reason for row in found.not_proved if row.group.startswith("If")] == [NO_NUMBER_THERE]


def test_what_a_route_says_nothing_about_is_said() -> None:
    whole = Evidence(tolerance=1e-4, counts={"y": 3}, not_proved=[NotProved("y", "known")])
    route = Evidence(tolerance=1e-4, counts={"y": 3}, not_proved=[NotProved("y", "known"), NotProved("z", "rounding")])
    assert [item.group for item in with_comparisons(whole, [route]).not_proved] == ["y", "z"]
