"""Products in place of weights: the same at the start, trained, merged into what was there before."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch")

from compressor.errors import UsageError  # noqa: E402 -- after the skip
from compressor.train import GraphModule  # noqa: E402
from compressor.train.reparameterize.overparameterize import Damping, WeightProduct, merge, overparameterise  # noqa: E402
from tests.models import in_memory, model, weight  # noqa: E402
from tests.property.graphs import random_inputs, random_model  # noqa: E402
from tests.train.case import in_runtime, run_module, worst  # noqa: E402

NET = in_memory(
    model(
        """
    (float[n,4,8,8] x, int64[n] pick) => (float[n,c] y)
    <float[8,4,3,3] w1, float[8] b1, float[8,1,3,3] w2, float[8,4,3,3] w3, float[8,3,2,2] w4, float[6,10] w5,
     float[10] b5, float[5,10] w6, float[5,5] table> {
        a = Conv<pads=[1,1,1,1]>(x, w1, b1)
        b = Conv<group=8>(a, w2)
        c = Conv<group=2>(b, w3)
        d = ConvTranspose<group=2>(c, w4)
        e = GlobalMaxPool(d)
        f = Flatten(e)
        g = MatMul(f, w5)
        h = Add(g, b5)
        t = Transpose<perm=[1,0]>(w6)
        i = MatMul(h, t)
        k = Gather(table, pick)
        l = MatMul(k, table)
        y = Add(i, l)
    }"""
    )
)
SHAPES = {
    "w1": [(1, 8, 16), (1, 16, 72), (1, 8, 4)],
    "w3": [(2, 4, 8), (2, 8, 72), (2, 8, 4)],
    "w4": [(2, 4, 8), (2, 8, 24), (2, 6, 3)],
    "w5": [(1, 6, 12), (1, 12, 20), (1, 20, 10)],
    "w6": [(1, 5, 10), (1, 10, 20), (1, 20, 10)],
}


def feeds(rng: np.random.Generator) -> dict[str, Any]:
    x = rng.normal(size=(3, 4, 8, 8)).astype(np.float32)
    return {"x": torch.from_numpy(x), "pick": torch.tensor([0, 3, 1])}


def step(module: GraphModule, given: dict[str, Any], count: int = 3, rate: float = 1e-4) -> None:
    optimiser = torch.optim.SGD(module.parameters(), lr=rate, momentum=0.9)
    extension = Damping()
    extension.start(module, optimiser, count)
    for _ in range(count):
        optimiser.zero_grad()
        module(**given).square().mean().backward()
        optimiser.step()


def test_the_same_at_the_start_and_after_merging(rng: np.random.Generator) -> None:
    plain, module, given = GraphModule(NET), GraphModule(NET), feeds(rng)
    found = overparameterise(module, NET)
    assert set(found.names) == set(SHAPES)
    assert set(found.skipped) == {"w2", "table"}
    assert "one channel" in found.skipped["w2"]
    assert "Gather" in found.skipped["table"]
    shapes = dict(module.named_parameters())
    for name, sizes in SHAPES.items():
        parts = ("left", "middle", "right")
        assert [tuple(shapes[f"{name}.{part}"].shape) for part in parts] == sizes or name == "w1"
        assert name not in shapes
    torch.testing.assert_close(module(**given), plain(**given), rtol=1e-5, atol=1e-5)
    merge(module)
    assert list(module.state_dict()) == list(plain.state_dict())
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], tensor, rtol=1e-6, atol=1e-6)
        assert type(module.get_parameter(name)) is torch.nn.Parameter
    assert all(p.requires_grad for p in module.parameters())


def test_trained_and_merged(rng: np.random.Generator) -> None:
    module, given = GraphModule(NET), feeds(rng)
    overparameterise(module, NET)
    start = module(**given).detach()
    step(module, given)
    trained = module.eval()(**given).detach()
    assert (trained - start).abs().max() > 1e-2
    early = module.write_back(NET)
    merge(module)
    torch.testing.assert_close(module(**given), trained, rtol=1e-5, atol=1e-5)
    late = module.write_back(NET)
    for name in SHAPES:
        assert weight(late, name).shape == weight(NET, name).shape
        assert not np.array_equal(weight(late, name), weight(NET, name))
        assert worst([weight(early, name)], [weight(late, name)]) < 1e-6
    module(**given).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_a_checkpoint_goes_into_a_module_of_the_same_seed(rng: np.random.Generator) -> None:
    module, other, given = GraphModule(NET), GraphModule(NET), feeds(rng)
    for one in (module, other):
        overparameterise(one, NET, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    step(module, given)
    twin = copy.deepcopy(module)
    other.load_state_dict(module.state_dict())
    for one in (twin, other):
        merge(one)
        torch.testing.assert_close(one(**given), module(**given), rtol=1e-5, atol=1e-5)
    assert not any(isinstance(m, WeightProduct) for m in twin.modules())
    assert any(isinstance(m, WeightProduct) for m in module.modules())


def test_one_step_moves_the_weight_about_as_far(rng: np.random.Generator) -> None:
    """Factors at a third of the rate: the step of the product is like the plain one, in length and direction."""
    given = feeds(rng)
    moves: list[Any] = []
    for expanded in (False, True):
        module = GraphModule(NET)
        if expanded:
            overparameterise(module, NET)
        before = module.tensors()["w1"].detach().clone()
        step(module, given, 1, rate=1e-5)
        moves.append((module.tensors()["w1"].detach() - before).flatten())
    ratio = float(moves[1].norm() / moves[0].norm())
    assert 1 / 3 < ratio < 3
    assert torch.cosine_similarity(moves[0], moves[1], dim=0) > 0.4


def test_damping_gives_factors_groups_of_their_own() -> None:
    module = GraphModule(NET)
    factors = 3 * len(overparameterise(module, NET).names)
    matrices = [p for p in module.parameters() if p.dim() > 1]
    others = [p for p in module.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=0.3)
    Damping().start(module, optimiser, 10)
    found = {(round(g["lr"], 6), g["weight_decay"]): len(g["params"]) for g in optimiser.param_groups}
    assert found == {(0.3, 0.1): len(matrices) - factors, (0.3, 0.0): len(others), (0.1, 0.1): factors}


def test_small_expansions_are_refused() -> None:
    with pytest.raises(UsageError, match="would lose rank"):
        overparameterise(GraphModule(NET), NET, expansion=0.5)


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    proto = random_model(rng)
    source, given = in_memory(proto), random_inputs(proto, rng)
    module = GraphModule(source).eval()
    names = list(module.state_dict())
    found = overparameterise(module, source, expansion=1.5)
    assert len(found.names) == sum(isinstance(m, WeightProduct) for m in module.modules())
    assert worst(run_module(module, given), in_runtime(proto, given)) < 1e-4
    merge(module)
    assert list(module.state_dict()) == names
    back = ir.to_proto(module.write_back(source))
    assert worst(in_runtime(back, given), in_runtime(proto, given)) < 1e-5
