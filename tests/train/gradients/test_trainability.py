"""Singular values of Jacobians: exact ones, estimated ones, and what cannot be measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from compressor.data import Batch  # noqa: E402 -- after the skip
from compressor.errors import ModelError, UsageError  # noqa: E402
from compressor.train import GraphModule  # noqa: E402
from compressor.train.gradients.trainability import Jacobian, trainability  # noqa: E402
from tests.models import in_memory, model, weight  # noqa: E402

NET = in_memory(
    model(
        """
    (float[n,2,5,5] x, float[n,6] z, int64[n] pick) => (float[n,c] y, float[n,d] w)
    <float[8,2,3,3] k, float[8] b, float[8,6] head, float[6,9] wide, float[3,6] table> {
        a = Conv(x, k, b)
        r = Tanh(a)
        p = GlobalAveragePool(r)
        f = Flatten(p)
        g = MatMul(f, head)
        t = Gather(table, pick)
        h = Mul(g, z)
        y = Add(h, t)
        w = MatMul(y, wide)
    }"""
    )
)


def batch(rng: np.random.Generator, count: int = 3) -> Batch:
    x, z = rng.normal(size=(count, 2, 5, 5)), rng.normal(size=(count, 6))
    return Batch({"x": x.astype(np.float32), "z": z.astype(np.float32), "pick": rng.integers(0, 3, count)})


def jacobian_of(module: Any, inputs: dict[str, Any], sample: int) -> Any:
    """[K, D] of one sample, by torch's own."""
    one = {k: torch.from_numpy(v[sample : sample + 1]) for k, v in inputs.items()}

    def run(x: Any, z: Any) -> Any:
        return torch.cat([y.flatten() for y in module(x=x, z=z, pick=one["pick"])])

    parts = torch.autograd.functional.jacobian(run, (one["x"], one["z"]))
    return torch.cat([p.flatten(1) for p in parts], 1)


def test_exact_values_of_every_sample(rng: np.random.Generator) -> None:
    module, given = GraphModule(NET).train(), batch(rng)
    found = trainability(module, [given, batch(rng, 2)][:1])
    values = [torch.linalg.svdvals(jacobian_of(module, given.inputs, k)) for k in range(3)]
    assert found.exact
    assert found.samples == 3
    assert math.isclose(found.mean, float(torch.stack(values).mean()), rel_tol=1e-4)
    assert math.isclose(found.std, float(torch.stack([v.std(correction=0) for v in values]).mean()), rel_tol=1e-4)
    assert found.condition == math.inf, "15 outputs of which 9 follow from 6"
    assert module.training
    assert all(p.requires_grad for p in module.parameters())


def test_a_linear_map_has_its_own_singular_values(rng: np.random.Generator) -> None:
    source = in_memory(model("(float[n,6] x) => (float[n,c] y) <float[6,4] w> { y = MatMul(x, w) }"))
    values = np.linalg.svd(np.asarray(weight(source, "w"), np.float64), compute_uv=False)
    found = trainability(GraphModule(source), [Batch({"x": rng.normal(size=(4, 6)).astype(np.float32)})])
    assert math.isclose(found.mean, values.mean(), rel_tol=1e-5)
    assert math.isclose(found.condition, values[0] / values[-1], rel_tol=1e-4)


def test_products_go_back_and_forth(rng: np.random.Generator) -> None:
    module, given = GraphModule(NET).eval(), batch(rng)
    jacobian = Jacobian(module, {k: torch.from_numpy(v) for k, v in given.inputs.items()})
    assert (jacobian.rows, jacobian.columns) == (15, 56)
    u, v = torch.randn(3, 15), torch.randn(3, 56)
    for sample in range(3):
        whole = jacobian_of(module, given.inputs, sample)
        torch.testing.assert_close(jacobian.back(u)[sample], whole.mT @ u[sample], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(jacobian.forth(v)[sample], whole @ v[sample], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("out", [2, 5], ids=["fewer outputs", "fewer inputs"])
@pytest.mark.parametrize("steps", [4, 12])
def test_the_estimate_is_close_to_the_exact_value(steps: int, out: int, rng: np.random.Generator) -> None:
    source = in_memory(
        model(
            f"""(float[n,3,6,6] x) => (float[n,a,b,c] y) <float[8,3,3,3] w, float[8] b1, float[{out},8,3,3] v> {{
                a1 = Conv<pads=[1,1,1,1]>(x, w, b1)  r = Tanh(a1)  y = Conv<pads=[1,1,1,1]>(r, v)
            }}"""
        )
    )
    module = GraphModule(source)
    batches = [Batch({"x": rng.normal(size=(32, 3, 6, 6)).astype(np.float32)}) for _ in range(2)]
    exact = trainability(module, batches, limit=180)
    found = trainability(module, batches, steps=steps)
    assert exact.exact
    assert not found.exact
    assert abs(found.mean / exact.mean - 1) < 0.05, "three standard errors of 64 directions"
    assert abs(found.std / exact.std - 1) < 0.12
    assert found.condition <= exact.condition * 1.001
    assert found == trainability(module, batches, steps=steps)
    assert found != trainability(module, batches, steps=steps, seed=1)


def test_scaled_weights_scale_it(rng: np.random.Generator) -> None:
    module, given = GraphModule(NET), [batch(rng)]
    before = trainability(module, given, limit=2)
    with torch.no_grad():
        for name in ("head", "table"):
            module.tensors()[name].mul_(0.5)
    after = trainability(module, given, limit=2)
    assert after.mean < before.mean


def test_second_derivatives_of_attention(rng: np.random.Generator) -> None:
    source = in_memory(
        model(
            """(float[n,4,8] x) => (float[n,t,c] y) {
                k = Transpose<perm=[0,2,1]>(x)  s = MatMul(x, k)  a = Softmax<axis=-1>(s)  y = MatMul(a, x)
            }"""
        )
    )
    batches = [Batch({"x": rng.normal(size=(3, 4, 8)).astype(np.float32)})]
    module = GraphModule(source)
    assert not trainability(module, batches, limit=4).exact
    assert trainability(module, batches, limit=32).exact


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("(int64[n] x) => (float[n,c] y) <float[5,2] w> { y = Gather(w, x) }", "no output depends"),
        ("(float[n,3] x) => (int64[n] y) { y = ArgMax<axis=1, keepdims=0>(x) }", "no output depends"),
        ("(float[n,3] x) => (float y) { y = ReduceMean<keepdims=0>(x) }", "first axis"),
    ],
)
def test_what_has_no_jacobian(body: str, message: str) -> None:
    source = in_memory(model(body))
    kind = np.int64 if "int64[n] x" in body else np.float32
    shape = (2,) if kind is np.int64 else (2, 3)
    with pytest.raises(ModelError, match=message):
        trainability(GraphModule(source), [Batch({"x": np.zeros(shape, kind)})])


def test_no_samples() -> None:
    with pytest.raises(UsageError, match="no samples"):
        trainability(GraphModule(NET), [])
