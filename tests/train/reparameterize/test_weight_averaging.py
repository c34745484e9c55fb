"""Means of weights and the ensemble around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from compressor.errors import UsageError  # noqa: E402 -- after the skip
from compressor.train import GraphModule  # noqa: E402
from compressor.train.reparameterize.weight_averaging import EnsembleDraw, Resampled, WeightMean  # noqa: E402
from tests.models import in_memory, model  # noqa: E402

NET = """
    (float[n,3,4,4] x) => (float[n,c] y, int64[n] best)
    <float[5,3,3,3] w, float[5] b, float[5] s1, float[5] beta, float[5] mean, float[5] s2, float[5,4] head> {
        a = Conv(x, w, b)
        n1 = BatchNormalization(a, s1, beta, mean, s2)
        r = Relu(n1)
        p = GlobalAveragePool(r)
        f = Flatten(p)
        y = MatMul(f, head)
        best = ArgMax<axis=1, keepdims=0>(y)
    }"""


def follow(extension: WeightMean, module: Any, steps: int, first: int = 1) -> list[dict[str, Any]]:
    """Random weights after every step; returns the state after each."""
    generator, states = torch.Generator().manual_seed(3), []
    for step in range(1, steps + 1):
        for tensor in module.state_dict().values():
            tensor.copy_(100 + torch.randn(tensor.shape, generator=generator).to(tensor.dtype))
        states.append({k: v.detach().double() for k, v in module.state_dict().items()})
        states[-1] = {k: v.clone() for k, v in states[-1].items()}
        if step >= first:
            extension.after_step(module, step)
    return states


def started(steps: int = 12, **options: Any) -> tuple[GraphModule, WeightMean]:
    module, extension = GraphModule(in_memory(model(NET))), WeightMean(**options)
    extension.start(module, torch.optim.SGD(module.parameters(), lr=0.1), steps)
    return module, extension


@pytest.mark.parametrize(
    ("share", "every", "counted"), [(1.0, 1, range(12)), (0.25, 1, range(9, 12)), (0.5, 2, (6, 8, 10))]
)
def test_mean_and_variance_of_the_last_steps(share: float, every: int, counted: Any) -> None:
    module, extension = started(share=share, every=every)
    assert extension.averaged(module) is None
    states = follow(extension, module, 12)
    assert extension.count == len(counted)
    for name, mean in extension.mean().items():
        rows = torch.stack([states[k][name] for k in counted])
        torch.testing.assert_close(mean.double(), rows.mean(0), rtol=1e-6, atol=1e-5)
        if name in extension.variance():
            found = extension.variance()[name].double()
            torch.testing.assert_close(found, rows.var(0, correction=0), rtol=1e-3, atol=1e-4)
    assert set(extension.mean()) == set(module.state_dict())
    assert set(extension.variance()) == {n for n, _ in module.named_parameters()}


def test_the_mean_is_given_to_the_loop_and_the_module_stays() -> None:
    module, extension = started()
    follow(extension, module, 12)
    expected = extension.mean()
    averaged = extension.averaged(module)
    assert averaged is not None
    assert all(torch.equal(averaged[k], v) for k, v in expected.items())
    assert not any(torch.equal(tensor, expected[name]) for name, tensor in module.state_dict().items())


def test_half_precision_is_averaged_in_single() -> None:
    module = torch.nn.Linear(4, 4).half()
    extension = WeightMean(share=1.0)
    extension.start(module, torch.optim.SGD(module.parameters(), lr=0.1), 3000)
    torch.nn.init.constant_(module.weight, 1.0)
    for step in range(1, 3001):
        extension.after_step(module, step)
    assert torch.equal(extension.mean()["weight"], torch.ones(4, 4))
    assert extension.mean()["weight"].dtype == torch.float32


def test_a_resumed_mean_is_the_same() -> None:
    module, whole = started(share=1.0)
    follow(whole, module, 12)
    other, early = started(share=1.0)
    follow(early, other, 5)
    resumed_module, late = started(share=1.0)
    late.load_state_dict({k: v.clone() if hasattr(v, "clone") else v for k, v in early.state_dict().items()})
    follow(late, resumed_module, 12, first=6)
    for part in (WeightMean.mean, WeightMean.variance):
        assert all(torch.equal(a, b) for a, b in zip(part(whole).values(), part(late).values(), strict=True))


def test_a_constraint_holds_for_mean_and_members(rng: np.random.Generator) -> None:
    gone = torch.zeros(5, dtype=torch.bool)
    gone[1] = True

    def constraint(weights: dict[str, Any]) -> dict[str, Any]:
        return {"w": weights["w"].masked_fill(gone[:, None, None, None], 0.0)}

    module, extension = started(share=1.0, constraint=constraint)
    follow(extension, module, 12)
    assert not extension.mean()["w"][1].any()
    assert extension.mean()["w"][0].all()
    ensemble = Resampled(module, extension.mean(), extension.variance(), EnsembleDraw(3), constraint=constraint)
    kernels = [b for b in ensemble.buffers() if b.shape == (5, 3, 3, 3)]
    assert len(kernels) == 3
    assert not any(k[1].any() for k in kernels)
    del rng


def test_members_are_normal_about_the_mean() -> None:
    module = torch.nn.Linear(50, 40)
    mean = {"weight": torch.full((40, 50), 2.0), "bias": torch.zeros(40)}
    variance = {"weight": torch.full((40, 50), 0.09), "bias": torch.zeros(40)}
    ensemble = Resampled(module, mean, variance, EnsembleDraw(10))
    drawn = torch.stack([b for b in ensemble.buffers() if b.dim() == 2])
    assert drawn.shape == (10, 40, 50)
    assert abs(float(drawn.mean()) - 2) < 0.01
    assert abs(float(drawn.std()) - 0.3) < 0.01
    assert not any(b.any() for b in ensemble.buffers() if b.dim() == 1)
    assert all(
        torch.equal(a, b)
        for a, b in zip(ensemble.buffers(), Resampled(module, mean, variance, EnsembleDraw(10)).buffers(), strict=True)
    )
    other = Resampled(module, mean, variance, EnsembleDraw(10, seed=1))
    assert not torch.equal(next(other.buffers()), next(ensemble.buffers()))


def test_the_teacher_averages_outputs_and_leaves_the_module_alone(rng: np.random.Generator) -> None:
    module, extension = started(share=1.0)
    follow(extension, module, 12)
    module.train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    ensemble = Resampled(module, extension.mean(), extension.variance(), EnsembleDraw(4, scale=0.5))
    assert not any(p.requires_grad for p in ensemble.parameters())
    assert all(p.requires_grad for p in module.parameters())
    x = torch.from_numpy(rng.normal(size=(2, 3, 4, 4)).astype(np.float32))
    found, best = ensemble.eval().requires_grad_(False)(x=x)
    names = list(extension.mean())
    rows = []
    twin = GraphModule(in_memory(model(NET))).eval()
    for member in range(4):
        twin.load_state_dict({n: ensemble.get_buffer(f"member_{member}_{k}") for k, n in enumerate(names)})
        rows.append(twin(x)[0])
    torch.testing.assert_close(found, torch.stack(rows).mean(0), rtol=1e-5, atol=1e-3)
    assert best.dtype == torch.int64
    assert module.training
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_one_member_without_variance_is_the_mean(rng: np.random.Generator) -> None:
    module = GraphModule(in_memory(model(NET))).eval()
    x = torch.from_numpy(rng.normal(size=(2, 3, 4, 4)).astype(np.float32))
    state = {k: v.detach() for k, v in module.state_dict().items()}
    ensemble = Resampled(module, state, {}, EnsembleDraw(1))
    torch.testing.assert_close(ensemble(x)[0], module(x)[0])


def test_what_cannot_be_averaged_is_refused() -> None:
    with pytest.raises(UsageError, match="train first"):
        WeightMean().mean()
    with pytest.raises(UsageError, match="out of range"):
        WeightMean(share=0)
    with pytest.raises(UsageError, match="0 members"):
        Resampled(torch.nn.Linear(1, 1), {}, {}, EnsembleDraw(0))
