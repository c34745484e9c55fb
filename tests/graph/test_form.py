"""Passes over graphs with branches and bodies that read values of the graphs around them: no result changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx_ir.passes.common import CommonSubexpressionEliminationPass

from compressor.graph.disk import files
from compressor.graph.form import clean
from compressor.graph.form.normalise import normalise, unshare
from compressor.graph.form.unfuse import unfuse
from compressor.operators.sizes import infer

BODIES = {
    "identity of an outer value in both branches": """
    i = Identity (h)
    z = If (c) <
        then_branch = t () => (a) { a = Identity (i) },
        else_branch = e () => (b) { b = Identity (i) }
    >""",
    "one outer value in every way": """
    z = If (c) <
        then_branch = t () => (a) { k = Identity (h) a = Identity (k) },
        else_branch = e () => (b) { k2 = Identity (h) r = Relu (k2) b = Identity (r) }
    >""",
    "identity of what the branch made, read twice": """
    z, z2 = If (c) <
        then_branch = t () => (a, a2) { r = Neg (h) a = Identity (r) a2 = Identity (r) },
        else_branch = e () => (b, b2) { b = Identity (h) b2 = Identity (b) }
    >""",
    "names of what the node gives, and of what comes behind it": """
    z = If (c) <
        then_branch = t () => (z) { r = Neg (h) z = Identity (r) },
        else_branch = e () => (z3) { z3 = Neg (m) }
    >
    z3 = Relu (z)""",
    "identity of a weight": """
    z = If (c) <
        then_branch = t () => (a) { a = Identity (m) },
        else_branch = e () => (b) { k = Constant <value = float[1,4] {1, 2, 3, 4}> () b = Add (k, m) }
    >""",
    "branch in a branch": """
    z = If (c) <
        then_branch = t () => (a) {
            a = If (c) <
                then_branch = tt () => (aa) { aa = Identity (h) },
                else_branch = te () => (ab) { ab = Neg (h) }
            >
        },
        else_branch = e () => (b) {
            o = Relu (h)
            b = If (c) <
                then_branch = et () => (ba) { ba = Identity (o) },
                else_branch = ee () => (bb) { bb = Neg (o) }
            >
        }
    >""",
    "loop": """
    n = Constant <value = int64 {3}> ()
    h2 = Relu (h)
    h3 = Relu (h)
    z = Loop (n, , h) <body = l (int64 k, bool go, float[N, 4] s) => (bool keep, float[N, 4] r) {
        keep = Identity (go)
        q = Dropout (s)
        p = Add (h2, h3)
        r = Add (q, p)
    }>""",
    "loop that returns an outer value": """
    n = Constant <value = int64 {3}> ()
    z, all = Loop (n, , h) <body = l (int64 k, bool go, float[N, 4] s) => (bool keep, float[N, 4] r, float[N, 4] o) {
        keep = Identity (go)
        r = Identity (s)
        o = Identity (h)
    }>""",
    "scan": """
    one = Constant <value = float {1}> ()
    start = ReduceSum <keepdims = 0> (h)
    last, all = Scan (start, h) <
        num_scan_inputs = 1,
        body = b (float s, float[4] v) => (float t, float[4] o) {
            t = Add (s, one)
            u = Identity (v)
            o = Identity (u)
        }
    >
    z = Add (all, last)""",
    "equal weights in two scopes": """
    z = If (c) <
        then_branch = t () => (a) { k = Constant <value = float[1,4] {1, 1, 1, 1}> () a = Add (h, k) },
        else_branch = e () => (b) {
            k1 = Constant <value = float[1,4] {1, 1, 1, 1}> ()
            k2 = Constant <value = float[1,4] {1, 1, 1, 1}> ()
            s = Mul (k1, k2)
            b = Mul (h, s)
        }
    >""",
    "results that are one value": """
    z = Identity (h)
    z3 = Identity (z)""",
    "fused operators in a branch": """
    z = If (c) <
        then_branch = t () => (a) { a = com.microsoft.BiasGelu (h, m4) },
        else_branch = e () => (b) { g = com.microsoft.QuickGelu (h) b = Identity (g) }
    >""",
}
HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> g (float[N, 3] x, bool c) => ()'
WEIGHTS = "<float[3, 4] w, float[1, 4] m = {3, 2, 1, 0}, float[4] m4 = {3, 2, 1, 0}>"
Pass = Callable[[ir.Model], object]


def _simplify(model: ir.Model) -> None:
    clean.simplify(model, infer(model))


def _all(model: ir.Model) -> None:
    _simplify(model)
    unshare(model)
    clean.tidy(model, simplify=True)


PASSES: dict[str, Pass] = {
    "unfuse": unfuse,
    "identities": clean.drop_identities,
    "equal nodes": CommonSubexpressionEliminationPass(),
    "equal weights": lambda model: clean.tidy(model, simplify=True),
    "dead nodes": clean.remove_dead,
    "constants": lambda model: clean.fold_constants(model, infer(model)),
    "copies": unshare,
    "simplify": _simplify,
    "all": _all,
}


def _built(body: str) -> onnx.ModelProto:
    """The body after a product; its results are those of z, z2, z3 and all that it makes."""
    proto = onnx.parser.parse_model(f"{HEAD} {WEIGHTS} {{ h = MatMul (x, w) {body} }}")
    made = {name for node in proto.graph.node for name in node.output}
    for name in ("z", "z2", "z3", "all"):
        if name in made:
            proto.graph.output.add(name=name)
    array = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(array, "w"))
    del proto.graph.value_info[:]
    return proto


def _run(path: Path) -> list[list[np.ndarray]]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)
    names = {i.name for i in session.get_inputs()}
    feeds = [{"x": x, "c": np.array(flag)} for flag in (True, False)]
    return [session.run(None, {k: v for k, v in feed.items() if k in names}) for feed in feeds]


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("name", PASSES)
def test_no_pass_changes_a_result(tmp_path: Path, case: str, name: str) -> None:
    onnx.save(_built(BODIES[case]), tmp_path / "before.onnx")
    model = normalise(files.load_model(tmp_path / "before.onnx"))
    names = [value.name for value in model.graph.outputs]
    PASSES[name](model)
    files.save_model(model, tmp_path / "after.onnx")
    assert [value.name for value in files.load_model(tmp_path / "after.onnx").graph.outputs] == names
    for one, two in zip(_run(tmp_path / "before.onnx"), _run(tmp_path / "after.onnx"), strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_identities_that_can_go_are_gone(tmp_path: Path) -> None:
    left = {}
    for case, body in BODIES.items():
        onnx.save(_built(body), tmp_path / "before.onnx")
        model = normalise(files.load_model(tmp_path / "before.onnx"))
        clean.drop_identities(model)
        left[case] = sum(n.op_type in ("Identity", "Dropout") for n in model.graph.all_nodes())
    assert left["identity of an outer value in both branches"] == 2
    assert left["one outer value in every way"] == 1
    assert left["identity of what the branch made, read twice"] == 3
    assert left["scan"] == 1  # a result of the body that is an input of it
    assert left["loop"] == 1  # the condition
    assert left["branch in a branch"] == 2
