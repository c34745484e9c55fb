"""Graphs inside nodes: branches, loops and scans, what they read from outside, and their weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from compressor.train import GraphModule  # noqa: E402 -- after the skip
from tests.models import in_memory, weight  # noqa: E402
from tests.train.case import in_runtime, in_torch, parity  # noqa: E402

HEAD = '<ir_version: 10, opset_import: ["" : 18]>\n'

BRANCH = (
    HEAD
    + """
g (float[2,3] x, bool c) => (float[2,4] y) <float[3,4] w = {1,2,3,4,5,6,7,8,9,1,2,3}> {
    z = Relu(x)
    y = If(c) <
        then_branch = t () => (float[2,4] a) { a = MatMul(z, w) },
        else_branch = e () => (float[2,4] b) <float[3,4] v = {1,1,1,1,2,2,2,2,3,3,3,3}> { p = Neg(z) b = MatMul(p, v) }
    >
}"""
)

LOOP = (
    HEAD
    + """
g (int64 n, float[2,2] x) => (float[2,2] last, float[k,2,2] all) <float[2,2] w = {0.5, 0.1, -0.2, 0.3}> {
    yes = Constant<value = bool {1}>()
    last, all = Loop(n, yes, x) <
        body = b (int64 i, bool go, float[2,2] s) => (bool on, float[2,2] t, float[2,2] row) {
            on = Identity(go)
            f = Cast<to=1>(i)
            m = MatMul(s, w)
            u = Add(m, f)
            t = Tanh(u)
            row = Mul(t, x)
        }
    >
}"""
)

SCAN = (
    HEAD
    + """
g (float[2] s, float[5,2] x) => (float[2] last, float[5,2] all) <float[2] w = {0.5, -1.5}> {
    last, all = Scan<num_scan_inputs = 1, scan_input_directions = [1], scan_output_directions = [1],
        body = b (float[2] p, float[2] e) => (float[2] q, float[2] r) { a = Mul(p, w) q = Add(a, e) r = Tanh(q) }
    >(s, x)
}"""
)


def parsed(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize("condition", [True, False])
def test_branches(condition: bool, rng: np.random.Generator) -> None:
    feeds = {"x": rng.normal(size=(2, 3)).astype(np.float32), "c": np.array(condition)}
    assert parity(parsed(BRANCH), feeds) < 1e-6


def test_weights_of_branches_are_parameters_of_the_whole(rng: np.random.Generator) -> None:
    source = in_memory(parsed(BRANCH))
    module = GraphModule(source)
    assert set(module.state_dict()) == {"w", "v"}
    x = torch.from_numpy(np.abs(rng.normal(size=(2, 3))).astype(np.float32))
    module(x, torch.tensor(False)).sum().backward()
    assert module.tensors()["w"].grad is None
    assert module.tensors()["v"].grad.abs().sum() > 0
    with torch.no_grad():
        module.tensors()["v"].add_(1)
    tuned = module.write_back(source)
    branch = next(n for n in tuned.graph if n.op_type == "If").attributes["else_branch"].as_graph()
    np.testing.assert_array_equal(branch.initializers["v"].const_value.numpy()[0], 2)
    np.testing.assert_array_equal(weight(tuned, "w"), weight(source, "w"))


@pytest.mark.parametrize("count", [1, 4])
def test_loops(count: int, rng: np.random.Generator) -> None:
    feeds = {"n": np.array(count), "x": rng.normal(size=(2, 2)).astype(np.float32)}
    for ours, theirs in zip(in_torch(parsed(LOOP), feeds), in_runtime(parsed(LOOP), feeds), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_scans(rng: np.random.Generator) -> None:
    feeds = {"s": rng.normal(size=2).astype(np.float32), "x": rng.normal(size=(5, 2)).astype(np.float32)}
    assert parity(parsed(SCAN), feeds) < 1e-6


@pytest.mark.parametrize(("text", "count"), [(LOOP, 3), (SCAN, None)])
def test_gradients_through_bodies(text: str, count: int | None, rng: np.random.Generator) -> None:
    # In double precision all through, so that differences are exact enough; Cast would leave it.
    proto = parsed(text.replace("float", "double").replace("to=1", "to=11"))
    module = GraphModule(in_memory(proto))
    shapes = [(2, 2)] if count else [(2,), (5, 2)]
    tensors = [torch.from_numpy(rng.normal(size=shape)).requires_grad_() for shape in shapes]
    first = [torch.tensor(count)] if count else []
    assert torch.autograd.gradcheck(lambda *given: module(*first, *given), tensors)
    sum(v.sum() for v in module(*first, *tensors)).backward()
    assert all(p.grad is not None for p in module.parameters())
