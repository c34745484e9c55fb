"""Decay, means of weights and products in the real loop: they train, and an interrupted run goes on as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from compressor.config import TuneSettings  # noqa: E402 -- after the skip
from compressor.data import Batch  # noqa: E402
from compressor.train import GraphModule  # noqa: E402
from compressor.train.loop.extension import Extension  # noqa: E402
from compressor.train.loop.fit import fit  # noqa: E402
from compressor.train.loop.objective import Objective  # noqa: E402
from compressor.train.loop.split import Splits  # noqa: E402
from compressor.train.loop.sweep import sweep_rates  # noqa: E402
from compressor.train.regularizers.decay import decay  # noqa: E402
from compressor.train.reparameterize.overparameterize import Damping, merge, overparameterise  # noqa: E402
from compressor.train.reparameterize.weight_averaging import EnsembleDraw, Resampled, WeightMean  # noqa: E402
from tests.models import in_memory, model  # noqa: E402
from tests.train.regularizers.test_decay import cut_of  # noqa: E402
from tests.train.training import StopAfter  # noqa: E402

NET = in_memory(
    model(
        """
    (float[n,3,6,6] x) => (float[n,c] y)
    <float[8,3,3,3] w1, float[8] b1, float[8,8,3,3] w2, float[8] b2, float[8,4] w3> {
        a = Conv<pads=[1,1,1,1]>(x, w1, b1)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, w2, b2)  s = Relu(b)
        p = GlobalAveragePool(s)  f = Flatten(p)  y = MatMul(f, w3)
    }"""
    )
)


class Images:
    """Noise, the same for the same index."""

    labelled = False

    def __init__(self, count: int, seed: int) -> None:
        self._x = np.random.default_rng(seed).normal(size=(count, 3, 6, 6)).astype(np.float32)

    def __len__(self) -> int:
        return len(self._x)

    def take(self, indices: Any) -> Batch:
        return Batch({"x": self._x[indices]})


def objective(teacher: Any = None) -> Objective:
    """Imitates another network."""
    if teacher is None:
        teacher = GraphModule(NET)
        generator = torch.Generator().manual_seed(1)
        for tensor in teacher.tensors().values():
            tensor.data.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return Objective([(1.0, lambda ours, _, taught: (ours[0] - taught[0]).square().mean())], teacher=teacher)


def settings(**given: Any) -> TuneSettings:
    base = {"batch_size": 8, "epochs": 3, "learning_rate": 0.05, "device": "cpu", "weight_decay": 0.0}
    return TuneSettings.parse({**base, **given})


def expanded() -> GraphModule:
    module = GraphModule(NET)
    overparameterise(module, NET)
    return module


def fading() -> Extension:
    found, cut = cut_of(NET)
    return decay(cut, found.model)


KINDS: dict[str, tuple[Callable[[], GraphModule], Callable[[], Extension]]] = {
    "decay": (lambda: GraphModule(NET), fading),
    "mean": (lambda: GraphModule(NET), lambda: WeightMean(share=0.5)),
    "product": (expanded, Damping),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_goes_on_bit_by_bit(kind: str, tmp_path: Path) -> None:
    make, extend = KINDS[kind]
    data = Splits(Images(40, 0), Images(16, 1))
    whole = make()
    fit(whole, objective(), data, settings(), extensions=[extend()])
    chosen = settings(checkpoint=tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        fit(make(), objective(), data, chosen, extensions=[extend(), StopAfter(9)])
    resumed = make()
    fit(resumed, objective(), data, chosen.model_copy(update={"resume": True}), extensions=[extend(), StopAfter(-1)])
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert any(not torch.equal(a, b) for a, b in zip(whole.parameters(), make().parameters(), strict=True))


def test_what_fades_is_zero_at_the_end_though_an_early_epoch_is_better() -> None:
    found, cut = cut_of(NET)
    module, extension = GraphModule(found.model), decay(cut, found.model)
    history = fit(module, objective(), Splits(Images(40, 0), Images(16, 1)), settings(), extensions=[extension])
    assert history.best_epoch == 3
    for name in extension.names:
        kept = cut.mask(found.model.graph.initializers[name])
        assert kept is not None
        tensor = module.tensors()[name].detach().numpy()
        assert not tensor[~np.broadcast_to(kept, tensor.shape)].any()


def test_products_learn_and_merge() -> None:
    module = expanded()
    history = fit(module, objective(), Splits(Images(40, 0), Images(16, 1)), settings(), extensions=[Damping()])
    x = torch.from_numpy(Images(4, 2).take(np.arange(4)).inputs["x"])
    expected = module(x).detach()
    merge(module)
    assert history.after.loss < history.before.loss
    assert set(module.state_dict()) == {"w1", "b1", "w2", "b2", "w3"}
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-6)


def test_a_resampled_teacher_is_imitated() -> None:
    extension = WeightMean(share=0.5)
    data = Splits(Images(40, 0), Images(16, 1))
    first = GraphModule(NET)
    fit(first, objective(), data, settings(), extensions=[extension])
    teacher = Resampled(GraphModule(NET), extension.mean(), extension.variance(), EnsembleDraw(4))
    history = fit(GraphModule(NET), objective(teacher), data, settings(epochs=4))
    assert history.after.loss < history.before.loss


def test_a_sweep_of_real_runs() -> None:
    module, data = GraphModule(NET), Splits(Images(40, 0), Images(16, 1))
    before = {k: v.clone() for k, v in module.state_dict().items()}

    def run(rate: float) -> float:
        history = fit(module, objective(), data, settings(epochs=2, learning_rate=rate, clip_norm=0.0))
        last = history.epochs[-1].valid
        assert last is not None
        return last.loss

    found = sweep_rates((10.0, 0.005, 1e-6), run, module)
    assert found.best == 0.005
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
