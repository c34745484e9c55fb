"""Filters that leave are driven away from those that stay."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from compressor.train import GraphModule  # noqa: E402 -- after the skip
from compressor.train.regularizers.decorrelate import Decorrelation, Filters, correlation, decorrelation  # noqa: E402
from tests.models import in_memory, model  # noqa: E402
from tests.train.regularizers.test_decay import NET, cut_of  # noqa: E402


def test_the_penalty_of_the_paper(rng: np.random.Generator) -> None:
    """mean((G - T)²) with T the matrix G, held fixed, without rows and columns of departing filters."""
    kernel = torch.from_numpy(rng.normal(size=(6, 4, 3, 3))).requires_grad_()
    gone = torch.tensor([False, True, False, False, True, False])
    found = correlation(kernel, Filters(0, 1, gone))
    rows = kernel.reshape(6, -1)
    gram = rows @ rows.T
    stays = (~gone).double()
    expected = (gram - (gram * stays[:, None] * stays).detach()).square().mean()
    torch.testing.assert_close(found, expected)
    for loss in (found, expected):
        kernel.grad = None
        loss.backward()
        if loss is found:
            ours = kernel.grad
    torch.testing.assert_close(ours, kernel.grad)


def test_other_axes_and_groups(rng: np.random.Generator) -> None:
    matrix = torch.from_numpy(rng.normal(size=(5, 4)))
    gone = torch.tensor([True, False, False, True])
    torch.testing.assert_close(
        correlation(matrix, Filters(1, 1, gone)), correlation(matrix.T.contiguous(), Filters(0, 1, gone))
    )
    kernel = torch.from_numpy(rng.normal(size=(4, 2, 3)))
    halves = [correlation(kernel[k : k + 2], Filters(0, 1, gone[k : k + 2])) for k in (0, 2)]
    torch.testing.assert_close(correlation(kernel, Filters(0, 2, gone)), (halves[0] + halves[1]) / 2)


def test_kernels_of_a_cut() -> None:
    found, cut = cut_of(in_memory(model(NET)))
    extension = decorrelation(cut)
    assert set(extension.names) == {"w1", "w2"}
    kept = cut.mask(found.model.graph.initializers["w1"])
    assert kept is not None
    filters = extension._filters["w1"]
    assert filters.axis == 0
    assert np.array_equal(filters.gone.numpy(), ~kept[:, 0, 0, 0])


def test_training_parts_what_goes_from_what_stays() -> None:
    found, cut = cut_of(in_memory(model(NET)))
    module, extension = GraphModule(found.model), decorrelation(cut, weight=10.0)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    extension.start(module, optimiser, 40)
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    filters = extension._filters["w1"]
    start = float(correlation(before["w1"], filters))
    rises = []
    for step in range(1, 41):
        optimiser.zero_grad()
        penalty = extension.penalty(module)
        assert penalty is not None
        rises.append(float(penalty.detach()))
        torch.autograd.backward(penalty)
        extension.after_backward(module)
        optimiser.step()
        extension.after_step(module, step)
    after = module.tensors()["w1"].detach()
    assert float(correlation(after, filters)) < 0.3 * start
    gone = filters.gone
    assert after[gone].norm() < 0.8 * before["w1"][gone].norm()
    assert rises[1] > rises[0], "it rises from nothing"
    assert torch.equal(module.tensors()["b1"].detach(), before["b1"])


def test_it_goes_on_where_it_stopped() -> None:
    one, two = (Decorrelation({"weight": Filters(0, 1, torch.tensor([True, False]))}) for _ in range(2))
    module = torch.nn.Linear(3, 2)
    for extension in (one, two):
        extension.start(module, torch.optim.SGD(module.parameters()), 10)
    one.after_step(module, 4)
    two.load_state_dict(one.state_dict())
    first, second = one.penalty(module), two.penalty(module)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)
    assert Decorrelation({}).penalty(module) is None
